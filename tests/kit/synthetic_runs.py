"""Small runs for the tests of the report, made with the shipped adapters in place of a model.

An oracle of rising accuracy plays the policy, so that records, groups and metrics have the very
shapes that training writes, without training.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import NamedTuple

from ekipl_lab import tracking
from ekipl_lab.benchmarks import load_samples
from ekipl_lab.benchmarks.mini.chains import CHAIN_STYLES, write_chain
from ekipl_lab.evaluation import evaluate, write_records
from ekipl_lab.groups.build import build_group
from ekipl_lab.records import GroupRecordWriter
from ekipl_lab.rewards import get_scorer
from ekipl_lab.teachers.adapters.oracle import OracleTeacher
from ekipl_lab.tracking.comparison import COMPARISON_TAG
from ekipl_lab.tracking.pages import PARENT_TAG
from ekipl_lab.types import Action, ActionGroup, GenerationParams, Sample

#: A teacher that tries to break out of the page it is shown on.
HOSTILE = "<think></pre><script>alert('x')</script><img src=x onerror=alert(1)></think>"
GROUP_SIZE = 4


class RunStore(NamedTuple):
    """The folder of a store, and the ids of its runs by name."""

    folder: Path
    runs: dict[str, str]


def player(name: str, accuracy: float, seed: int = 0, **options: str) -> OracleTeacher:
    return OracleTeacher(
        name,
        write_chain,
        accuracy=accuracy,
        seed=seed,
        style=options.get("style", "short"),
        fault_mode=options.get("fault_mode", "wrong_answer"),  # type: ignore[arg-type]
        styles=CHAIN_STYLES,
    )


def make_run(
    name: str,
    *,
    gain: float,
    teachers: tuple[str, ...] = (),
    steps: int = 8,
    items: int = 24,
    work: Path,
    seed: int = 0,
) -> str:
    """Train nothing: write what a run of ``steps`` steps would; its id."""
    config = {
        "name": name,
        "seed": seed,
        "policy": {"path": "assets/policies/counting_study"},
        "data": {"benchmark": "mini", "task": "counting", "image_size": None},
        "teachers": [{"type": "oracle", "id": teacher} for teacher in teachers],
        "evaluation": {"ks": [1, 4]},
    }
    scorer = get_scorer("ekipl/auto")
    tags = {"ekipl.prompts": "f00d", COMPARISON_TAG: "synthetic", PARENT_TAG: "synthetic"}
    with tracking.open_run("synthetic", name, {"method": name}, config, tags) as log:
        log.log_dataset("mini/counting/test", "abcd", "test")
        with GroupRecordWriter(log.folder("groups")) as records:
            prompts = load_samples("mini", task="counting", split="train", limit=6)
            spent = 0
            for step in range(1, steps + 1):
                level = 0.3 + gain * step / steps
                chosen = [prompts[(2 * step + i) % 6] for i in range(2)]
                groups = [_group(s, level, step, teachers, scorer) for s in chosen]
                records.write(step, groups)
                spent += 2 * GROUP_SIZE
                log.log_metrics(_metrics(groups, teachers, spent), step)
        for step in (0, steps // 2, steps):
            level = 0.3 + gain * step / steps
            for split in ("test", "test_ood"):
                samples = load_samples("mini", task="counting", split=split, limit=items)
                policy = player("policy", level, seed=step)
                found = evaluate(policy, samples, scorer, mode="greedy")
                if step in (0, steps):
                    found += evaluate(policy, samples, scorer, mode="sampled", num_samples=6)
                path = work / name / split / f"step-{step:06d}.parquet"
                write_records(path, found)
                log.log_artifact(path, f"evaluation/{split}")
    return log.run_id


def _group(
    sample: Sample, level: float, step: int, teachers: tuple[str, ...], scorer: object
) -> ActionGroup:
    params = GenerationParams(seed=step)
    actions = player("policy", level, seed=1).propose([sample], GROUP_SIZE, params)[0]
    for teacher in teachers:
        if teacher == "hostile":
            actions.append(Action(HOSTILE, "hostile", "hostile"))
        else:
            told = player(teacher, 0.9, style="wordy", fault_mode="wrong_chain")
            actions += told.propose([sample], 1, params)[0]
    rewards = [scorer(sample, action) for action in actions]  # type: ignore[operator]
    return build_group(sample, actions, rewards, rule="top_g", group_size=GROUP_SIZE)


def _metrics(
    groups: list[ActionGroup], teachers: tuple[str, ...], spent: int
) -> dict[str, float | None]:
    rng = random.Random(spent)
    values: dict[str, float | None] = {
        "cost/policy_completions": spent,
        "cost/policy_tokens": 30 * spent,
        "cost/teacher_actions": len(teachers) * spent / GROUP_SIZE,
        "seconds/step": 0.5 + rng.random() / 10,
        "groups/zero_spread_before": rng.random() / 2,
        "groups/zero_spread_after": 0.5 + rng.random() / 2,
        "groups/zero_starved": 0.25,
        "kept/reward": 1.0,
    }
    for source in ("policy", *teachers):
        prefix = source if source == "policy" else f"teacher/{source}"
        rows = [
            (g.rewards[i].total, i in g.kept)
            for g in groups
            for i, action in enumerate(g.candidates)
            if action.source == source
        ]
        totals = [total for total, _ in rows if total is not None]
        values[f"{prefix}/reward"] = sum(totals) / len(totals) if totals else None
        kept = sum(kept for _, kept in rows)
        values[f"share/{source}/kept"] = kept / (GROUP_SIZE * len(groups))
    return values
