"""What a run's group records say of its teachers, and what the gateway keeps of their requests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from app import recorded_groups, runs, samples
from ekipl_lab import records, tracking
from ekipl_lab.benchmarks.mini.chains import check_chain
from ekipl_lab.commands.teach import page
from ekipl_lab.errors import DataError
from ekipl_lab.evaluation.chains import check_chains
from ekipl_lab.evaluation.usefulness import Usefulness, usefulness
from ekipl_lab.plots import svg
from ekipl_lab.plots.figures import Point, source_colours
from ekipl_lab.records import RecordedGroup
from ekipl_lab.tables import Table, as_html, row
from ekipl_lab.teachers.gateway.overview import Overview, overview
from ekipl_lab.tracking import store
from ekipl_lab.types import POLICY, EvalRecord

#: At most so many of a run's last groups are looked at.
MAX_GROUPS = 240
CACHE = "mlruns/teachers.sqlite3"


@dataclass(frozen=True, slots=True)
class Measured:
    """Teachers against the policy on the last group of ``samples`` samples; the chains of
    ``checked`` of them could be checked."""

    found: Usefulness
    samples: int
    checked: int


def measured(run: str) -> Measured:
    """Teachers against the policy on the run's last recorded groups; kept until it records more.

    The last group of each sample counts. Raises DataError where no group has a teacher's action.
    """
    return _measured(store.tracking_uri(), run, len(recorded_groups.list_steps(run)))


@lru_cache(maxsize=32)
def _measured(uri: str, run: str, steps: int) -> Measured:
    groups = list(_last_groups(run))
    teachers = sorted({a.source for group in groups for a in group.candidates} - {POLICY})
    if not teachers:
        raise DataError("This run has recorded no teacher actions; it has no teachers, or no step.")
    by_source = {name: [_record(group, name) for group in groups] for name in (POLICY, *teachers)}
    config = runs.config_of(run)
    built_in = (group for group in groups if group.sample_id.startswith("mini/"))
    rebuilt = [samples.find_sample(config, group) for group in built_in]
    known = {sample.id: sample for sample in rebuilt if sample.metadata}
    checks = check_chains(
        [one for own in by_source.values() for one in own if one.sample_id in known],
        known.values(),
        check_chain,
    )
    found = usefulness(by_source.pop(POLICY), by_source, ks=(1, 4, 8), chains=checks)
    return Measured(found, len(groups), len(known))


def report(one: Measured) -> list[str]:
    """The report as tables and a figure of accuracy against cost."""
    per_task = [gain for gain in one.found.gains if len(gain.where) == 1]
    note = (
        f"On the last {one.samples} samples of the run's group records, each once, with the policy "
        "as it was then; `ekipl teach report` measures on fresh samples."
    )
    sources = page.sources(one.found.sources)
    return [
        as_html(page.gains("What each teacher adds", per_task, note)),
        _against_cost(one.found),
        as_html(replace(sources, note=f"{sources.note} {_checked(one)}")),
        as_html(page.overlaps(one.found)),
    ]


def _checked(one: Measured) -> str:
    """On how many samples wrong chains were looked for."""
    if one.checked == one.samples:
        return "Here the chains of every sample were checked against its scene."
    if one.checked:
        return f"Here the chains of {one.checked} of {one.samples} samples could be checked."
    return (
        "Here no chain can be checked, so the column says “-”: a scene to check against is known "
        "of the built-in tasks alone."
    )


def requests(run: str) -> list[str]:
    """What the gateway stores of the run's teachers hold: cache, requests, costs, failures."""
    parts = []
    for path, found in _stores(run):
        head = f"Requests kept in {path.name}: {found.cached} actions in the cache"
        columns = ["teacher", "account", "model", "requests", "answered", "refused", "no answer"]
        shown = [
            row(one.teacher, one.account, one.model, str(one.requests), str(one.answered),
                str(one.refused), str(one.open), f"{one.usd:.4f}", f"{one.open_usd:.4f}",
                "-" if one.latency is None else f"{one.latency:.2f}")
            for one in found.traffic
        ]  # fmt: skip
        note = "Without an answer: in flight, or possibly billed; its USD is the most it can cost."
        table = Table(head, [*columns, "USD", "USD without answer", "seconds"], shown, note)
        errors = [row(one.teacher, one.error, str(one.count)) for one in found.failures]
        parts += [as_html(table), as_html(Table("Failures", ["teacher", "error", "times"], errors))]
    return parts


def _stores(run: str) -> Iterable[tuple[Path, Overview]]:
    specs: Sequence[Any] = runs.config_of(run).get("teachers", ())
    blocks = [spec.get("gateway") or {} for spec in specs if isinstance(spec, dict)]
    paths = dict.fromkeys(str(block.get("cache", CACHE)) for block in blocks)
    for name in paths:
        path = store.project_root() / name  # an absolute name stays as it is
        found = overview(path)
        if found is not None and (found.cached or found.traffic):
            yield path, found


def _last_groups(run: str) -> Iterable[RecordedGroup]:
    """The last group of each sample, latest first."""
    folder = tracking.run_artifact(run, recorded_groups.RECORDS)
    seen: set[str] = set()
    for step in reversed(recorded_groups.list_steps(run)):
        for group in reversed(records.load_groups(folder, step)):
            if group.sample_id not in seen:
                seen.add(group.sample_id)
                yield group
            if len(seen) >= MAX_GROUPS:
                return


def _record(group: RecordedGroup, source: str) -> EvalRecord:
    pairs = zip(group.candidates, group.rewards, strict=True)
    own = [(action, reward) for action, reward in pairs if action.source == source]
    return EvalRecord(
        group.sample_id, group.task, group.split, group.family, group.difficulty, source,
        "sampled", tuple(action for action, _ in own), tuple(reward for _, reward in own),
    )  # fmt: skip


def _against_cost(found: Usefulness) -> str:
    per_task = [one for one in found.sources if len(one.where) == 1 and one.accuracy is not None]
    several = len({one.where for one in per_task}) > 1
    places = {
        f"{one.source} ({one.where[0][1]})" if several else one.source: (
            one.source,
            Point(
                1000 * one.cost / max(one.actions, 1),
                one.accuracy.value,
                one.accuracy.low,
                one.accuracy.high,
            ),
        )
        for one in per_task
        if one.accuracy is not None
    }
    by_source = source_colours({source for source, _ in places.values()})
    return svg.draw(
        {name: [point] for name, (_, point) in places.items()},
        title="Accuracy against cost (USD per 1,000 actions)",
        colours={name: by_source[source] for name, (source, _) in places.items()},
        x="USD",
    )
