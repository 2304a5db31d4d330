"""Is the built-in benchmark sound as a whole: no scene is in two splits."""

from __future__ import annotations

from itertools import combinations

from ekipl_lab.benchmarks.mini import MINI_TASKS
from ekipl_lab.benchmarks.mini.task import SampleKey
from ekipl_lab.benchmarks.seeding import SPLITS


def shared_scenes(task: str, per_split: int, seed: int = 0) -> dict[tuple[str, str], int]:
    """Number of scenes found in both of two splits, for every pair of splits; all 0 if sound.

    The first ``per_split`` image samples of all families are drawn, and not rendered. Takes about
    0.1 ms a scene; ``make verify`` runs it with 250,000 scenes a split.
    """
    mini = MINI_TASKS[task]
    names = [name for name, family in mini.families.items() if family.images]
    found: dict[str, set[int]] = {split: set() for split in SPLITS}
    for split, scenes in found.items():
        for position in range(per_split):
            index, number = divmod(position, len(names))
            sample = mini.draft(SampleKey(task, split, seed, names[number], index))
            scenes.add(int(sample.metadata["scene_hash"], 16))
    return {pair: len(found[pair[0]] & found[pair[1]]) for pair in combinations(SPLITS, 2)}
