"""Chains to read: items whose outcome changed, and groups as they were trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from ekipl_lab import records as group_records
from ekipl_lab.evaluation.chains import ChainReport
from ekipl_lab.images import png_uri
from ekipl_lab.records import RecordedGroup
from ekipl_lab.report.gather import RunData, When, rebuild, sets_of
from ekipl_lab.report.tables import anchor, beats, learned, lost
from ekipl_lab.tables import MINUS
from ekipl_lab.types import POLICY, Action, EvalRecord, RewardBreakdown, Sample

#: Examples shown of each kind of change; the ids of all are listed.
EXAMPLES = 4
#: Side of the pictures on the page, drawn from the same scene as what the policy sees.
PICTURE = 224


@dataclass(frozen=True, slots=True)
class Chain:
    """One completion as it is shown; ``verdict`` is right, wrong or not scored.

    ``report`` is the check of its reasoning, None where the benchmark cannot check it.
    """

    title: str
    source: str
    completion: str
    verdict: str
    answer: str
    criteria: Sequence[tuple[str, str]]
    report: ChainReport | None
    kept: bool | None = None
    advantage: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """A question with its pictures (data URIs) and the chains that answer it."""

    id: str
    question: str
    answer: str
    about: str
    images: Sequence[str]
    chains: Sequence[Chain]


@dataclass(frozen=True, slots=True)
class ChainChange:
    """Items whose outcome differs in one way: all ids, and some to read."""

    title: str
    ids: Sequence[str]
    items: Sequence[Item]

    @property
    def anchor(self) -> str:
        """Its place on the page."""
        return anchor(self.title)


def changes(runs: Sequence[RunData]) -> list[ChainChange]:
    """Between arms, then between start and end of each arm; every set, greedy completions.

    Where no run has greedy ones, single sampled completions (published settings) are compared.
    """
    found = []
    for name in sets_of(runs):
        mode = "greedy" if any(run.ends(name, "greedy") for run in runs) else "sampled"
        starts = [_outcomes(run, name, "start", mode) for run in runs]
        ends = [_outcomes(run, name, "end", mode) for run in runs]
        shown = _columns(runs, starts, ends)
        for run, end in zip(runs[1:], ends[1:], strict=True):
            found.append(_change(beats(name, run, runs[0]), ends[0], end, shown))
            found.append(_change(beats(name, runs[0], run), end, ends[0], shown))
        for run, start, end in zip(runs, starts, ends, strict=True):
            found.append(_change(learned(name, run.label), start, end, shown))
            found.append(_change(lost(name, run.label), end, start, shown))
    return [change for change in found if change.ids]


Outcomes = Mapping[str, EvalRecord]


def _outcomes(run: RunData, name: str, when: When, mode: str) -> Outcomes:
    """Single actions by item; empty where not measured, or where the start is the end."""
    steps = run.ends(name, mode)
    if when == "start" and steps is not None and steps[0] == steps[1]:
        return {}
    records = run.at(name, when, mode)
    return {record.sample_id: record for record in records if len(record.actions) == 1}


def _columns(
    runs: Sequence[RunData], starts: Sequence[Outcomes], ends: Sequence[Outcomes]
) -> list[tuple[str, Outcomes]]:
    start = [("start", found) for found in starts if found][:1]
    return start + [(f"{run.label}, end", end) for run, end in zip(runs, ends, strict=True)]


def _change(
    title: str, before: Outcomes, after: Outcomes, shown: Sequence[tuple[str, Outcomes]]
) -> ChainChange:
    """Items that fail in ``before`` and succeed in ``after``."""
    ids = [
        i
        for i in sorted(after)
        if i in before and before[i].rewards[0].success is False and after[i].rewards[0].success
    ]
    chosen = _spread(ids, lambda i: after[i].family)[:EXAMPLES]
    return ChainChange(title, ids, [_item(i, shown) for i in chosen])


def _spread(ids: Sequence[str], family: Callable[[str], str]) -> list[str]:
    """One of each family in turn, so that the examples are not all of a kind."""
    rank: dict[str, int] = {}
    place = {}
    for i in ids:
        rank[family(i)] = rank.get(family(i), -1) + 1
        place[i] = (rank[family(i)], i)
    return sorted(ids, key=lambda i: place[i])


def _item(sample_id: str, shown: Sequence[tuple[str, Outcomes]]) -> Item:
    sample = rebuild(sample_id, PICTURE)
    found = [(title, records[sample_id]) for title, records in shown if sample_id in records]
    record = found[0][1]
    return Item(
        id=sample_id,
        question=sample.question if sample else "",
        answer=sample.answer if sample else "",
        about=f"{record.task}, {record.family}, difficulty {record.difficulty}",
        images=_pictures(sample_id),
        chains=[_chain(title, r.actions[0], r.rewards[0], sample) for title, r in found],
    )


@lru_cache(maxsize=256)
def _pictures(sample_id: str) -> list[str]:
    """The sample's images as data URIs."""
    sample = rebuild(sample_id, PICTURE)
    return [png_uri(image) for image in sample.images] if sample else []


def _chain(title: str, action: Action, reward: RewardBreakdown, sample: Sample | None) -> Chain:
    return Chain(
        title=title,
        source=action.source,
        completion=action.completion,
        verdict={True: "right", False: "wrong", None: "not scored"}[reward.success],
        answer=reward.extracted_answer if reward.extracted_answer is not None else "none",
        criteria=_criteria(reward),
        report=check_one(sample, action.completion),
    )


def _criteria(reward: RewardBreakdown) -> list[tuple[str, str]]:
    values = {**reward.components, "total": reward.total}
    return [(n, "not scored" if v is None else f"{v:.2g}") for n, v in values.items()]


def check_one(sample: Sample | None, completion: str) -> ChainReport | None:
    """Which steps are true in the scene, where the benchmark can check chains."""
    from ekipl_lab.benchmarks.mini import MINI_TASKS
    from ekipl_lab.benchmarks.mini.chains import check_chain

    if sample is None or sample.task not in MINI_TASKS:
        return None
    return check_chain(sample, completion)


def training_groups(run: RunData) -> list[tuple[int, Item]]:
    """(step, group) of a prompt that recurs, first and last; else of the first and last step."""
    if run.groups is None:
        return []
    found = []
    for step, group in _chosen_groups(run):
        recorded = group_records.load_groups(run.groups, step, offset=group, limit=1)
        found.append((step, _group_item(recorded[0])))
    return found


def _chosen_groups(run: RunData) -> list[tuple[int, int]]:
    """Places (step, group), best where a teacher's action was kept and the advantages differ."""
    columns = ["step", "group", "sample_id", "source", "advantage"]
    table = group_records.read_groups(run.groups or "", columns=columns).to_pydict()
    places: dict[str, list[tuple[int, int]]] = {}
    merit: dict[tuple[int, int], int] = {}
    for step, group, sample, source, advantage in zip(*table.values(), strict=True):
        place = (step, group)
        if place not in merit:
            places.setdefault(sample, []).append(place)
            merit[place] = 0
        taught = advantage is not None and source != POLICY
        merit[place] = max(merit[place], taught + 2 * bool(advantage))
    if not merit:
        return []
    recurring = [found for found in places.values() if len(found) > 1]
    if recurring:
        best = max(recurring, key=lambda found: (merit[found[0]], found[-1][0] - found[0][0]))
        return [best[0], best[-1]]
    top = [place for place in merit if merit[place] == max(merit.values())]
    return list(dict.fromkeys([top[0], top[-1]]))


def _group_item(group: RecordedGroup) -> Item:
    sample = rebuild(group.sample_id, PICTURE)
    advantage = dict(zip(group.kept, group.advantages, strict=True))
    chains = []
    for i, (action, reward) in enumerate(zip(group.candidates, group.rewards, strict=True)):
        chain = _chain(f"{i + 1}. {action.source}", action, reward, sample)
        value = f"{advantage[i]:+.2f}".replace("-", MINUS) if i in advantage else ""
        chains.append(replace(chain, kept=i in advantage, advantage=value))
    return Item(
        id=group.sample_id,
        question=group.question,
        answer=group.answer,
        about=f"{group.task}, {group.family}, difficulty {group.difficulty}; rule {group.rule}"
        + ("" if any(group.advantages) else "; all kept rewards are equal: it taught nothing"),
        images=_pictures(group.sample_id),
        chains=chains,
    )
