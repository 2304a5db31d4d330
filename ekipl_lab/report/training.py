"""What training did with the actions of each source, and why groups taught nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ekipl_lab import records as group_records
from ekipl_lab.errors import MissingData
from ekipl_lab.groups.doctor import Examination, examine_recorded
from ekipl_lab.records import RecordedGroup
from ekipl_lab.report.chains import check_one
from ekipl_lab.report.gather import RunData, rebuild
from ekipl_lab.tables import DASH, Table, TableCell, percent, row
from ekipl_lab.types import POLICY

#: Groups whose chains are checked for the table of sources, spread over the whole run.
CHECKED_GROUPS = 200

#: Groups that the group doctor looks at, spread over the whole run.
EXAMINED_GROUPS = 1000

#: Of a long run some groups of at least so many steps are looked at.
LEAST_STEPS = 50


def sources(runs: Sequence[RunData]) -> Table:
    """What each action source gave over the whole training: candidates, kept, right, sound."""
    rows: list[list[TableCell]] = []
    for run in runs:
        if run.groups is not None:
            rows += [row(run.label), *_source_rows(run, run.groups)]
    columns = ["source", "candidates", "refused", "kept", "share of all kept", "right"]
    return Table(
        "Where the actions came from",
        [*columns, "of these unsound"],
        rows,
        "Percent, over all training steps. Refused: teacher actions that the policy could not have "
        "written (too long, cut off, empty), by reason. Right: of those that could be scored. "
        "Unsound: right answers whose reasoning "
        "holds a false step or does not lead to the answer; the reward cannot see it.",
    )


def _source_rows(run: RunData, groups: Path) -> list[list[TableCell]]:
    """One for each source: over all of its candidates, and over some groups whose chains it saw."""
    names = ["source", "kept", "success"]
    candidates = group_records.read_groups(groups, columns=names).to_pandas()
    unsound, all_kept = _unsound(run), int(candidates["kept"].sum())
    rows = []
    found = {*candidates["source"], *run.teachers}
    for source in sorted(found, key=lambda name: (name != POLICY, name)):
        own = candidates[candidates["source"] == source]
        kept, scored = int(own["kept"].sum()), own["success"].dropna()
        rows.append(
            row(
                source,
                TableCell(f"{len(own):,}"),
                _refused(run, source),
                _share(kept, len(own)),
                _share(kept, all_kept),
                _share(int(scored.sum()), len(scored)),
                _checked(unsound.get(source)),
            )
        )
    return rows


def _share(part: int, whole: int) -> TableCell:
    return TableCell(percent(part / whole)) if whole else TableCell(DASH)


def _checked(counts: tuple[int, int] | None) -> TableCell:
    if counts is None:
        return TableCell(DASH)
    return TableCell(percent(counts[0] / counts[1]), f"of {counts[1]} checked")


def _refused(run: RunData, source: str) -> TableCell:
    """Teacher actions that never became candidates, as the trainer counted them."""
    prefix = f"teacher/{source}/refused/"
    reasons = {
        name.removeprefix(prefix).replace("_", " "): sum(value for _, value in history)
        for name, history in run.history.items()
        if name.startswith(prefix)
    }
    if not reasons:
        return TableCell(DASH)
    small = "; ".join(f"{count:,.0f} {reason}" for reason, count in sorted(reasons.items()))
    return TableCell(f"{sum(reasons.values()):,.0f}", small)


def zero_causes(runs: Sequence[RunData]) -> Table:
    """Why groups taught nothing and what to try, in the words of the group doctor."""
    rows: list[list[TableCell]] = []
    for run in runs:
        found = examined(run)
        if found is None:
            continue
        share = percent(found.zero_advantage / found.groups)
        head = f"{run.label}: {found.zero_advantage} of {found.groups} groups taught nothing"
        rows.append(row(f"{head} ({share} %)"))
        for one in found.findings:
            rows.append(row(one.words, one.advice, "; ".join(one.settings) or DASH))
    return Table(
        "Why groups taught nothing",
        ["what the group doctor found", "advice", "settings to try"],
        rows,
        f"Over all recorded groups; where they are more than {EXAMINED_GROUPS:,}, over at most as "
        "many, spread over the whole training. A group whose kept rewards are all equal has no "
        "advantage.",
    )


def examined(run: RunData) -> Examination | None:
    """The group doctor's findings on a run's groups; None where no group was recorded."""
    if run.groups is None:
        return None
    if "examined" not in run.memo:
        groups = list(_spread_groups(run, EXAMINED_GROUPS))
        run.memo["examined"] = examine_recorded(groups, _refusal_metrics(run)) if groups else None
    found: Examination | None = run.memo["examined"]
    return found


def _refusal_metrics(run: RunData) -> list[dict[str, float]]:
    """Per step, what the trainer counted of actions and refusals of teachers."""
    steps: dict[int, dict[str, float]] = {}
    for name, history in run.history.items():
        if name.startswith("teacher/") and (name.endswith("/actions") or "/refused/" in name):
            for step, value in history:
                steps.setdefault(step, {})[name] = value
    return [steps[step] for step in sorted(steps)]


def _unsound(run: RunData) -> dict[str, tuple[int, int]]:
    """Source -> (right answers with unsound reasoning, right answers), over some groups."""
    counts: dict[str, tuple[int, int]] = {}
    for group in _spread_groups(run, CHECKED_GROUPS):
        sample = rebuild(group.sample_id)
        for action, reward in zip(group.candidates, group.rewards, strict=True):
            report = check_one(sample, action.completion) if reward.success else None
            if report is not None:
                bad, all_right = counts.get(action.source, (0, 0))
                counts[action.source] = (bad + (not report.sound), all_right + 1)
    return counts


def _spread_groups(run: RunData, most: int) -> Iterator[RecordedGroup]:
    """All groups of a run; where they are more than ``most``, up to as many, spread over it."""
    assert run.groups is not None
    places = group_records.read_groups(run.groups, columns=["step", "group"]).to_pandas()
    counts = places.drop_duplicates().groupby("step").size()
    steps, total, limit = [int(step) for step in counts.index], int(counts.sum()), None
    if total > most:
        number = min(len(steps), max(LEAST_STEPS, len(steps) * most // total))
        limit = max(1, most // number)
        steps = [steps[i * len(steps) // number] for i in range(number)]
    for step in steps:
        try:
            yield from group_records.load_groups(run.groups, step, limit=limit)
        except MissingData:  # cut back by a resume since the steps were listed
            continue
