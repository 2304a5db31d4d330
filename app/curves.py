"""What several runs logged, as curves: one per arm, with a band over its seeds."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from app import evaluations, recorded_groups, runs
from app.kept import remembered, stamp_of_store
from app.state import START
from ekipl_lab import tracking
from ekipl_lab.errors import MissingData
from ekipl_lab.plots import svg
from ekipl_lab.plots.figures import Point, points, source_colours
from ekipl_lab.plots.metrics import Metric, drawn
from ekipl_lab.report.arms import Arm, arms_of
from ekipl_lab.report.gather import RunData
from ekipl_lab.statistics import paired_t
from ekipl_lab.tracking import RunInfo, store
from ekipl_lab.types import KEPT

#: Address of MLflow's own page where the store is a file (`ekipl mlflow`).
MLFLOW = "http://127.0.0.1:5000"
#: Metric of the trainer -> title of its diagnostic panel.
DIAGNOSTICS = {
    "groups/zero_spread_before": "Groups without spread, before selection",
    "groups/zero_spread_after": "Groups without spread, after selection",
    "loss": "Loss",
    "grad_norm": "Gradient norm",
    "policy/entropy": "Entropy of the policy",
    "policy/truncated": "Completions cut off",
    "clip_ratio/region_mean": "Clipped tokens",
    "length/policy": "Length of the policy's chains (tokens)",
    "seconds/step": "Seconds per step",
    "cost/teacher_paid_usd": "Paid to teachers so far (USD)",
}
_EVALUATION = re.compile(
    r"eval/[^/]+/(accuracy_greedy|pass_at_\d+|chain_sound_greedy|format_failure_greedy"
    r"|right_but_unsound_greedy|length_greedy)"
)
History = Mapping[str, Sequence[tuple[int, float]]]


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as a line of the table; ``doctor`` is the group doctor's latest word."""

    info: RunInfo
    arm: str
    seed: object
    mlflow: str
    doctor: str


def infos(ids: Sequence[str]) -> list[RunInfo]:
    """The runs of these ids, in this order; ConfigError for one that does not exist."""
    return [runs.info(run) for run in ids]


def siblings(run: str, limit: int = 8) -> list[str]:
    """Other runs of a run's experiment, the latest of each name, latest first."""
    found = {choice.id: choice for choice in runs.list_runs()}
    if run not in found:
        return []
    experiment, seen = found[run].experiment, {found[run].name}
    others = []
    for choice in found.values():
        if choice.experiment == experiment and choice.name not in seen:
            seen.add(choice.name)
            others.append(choice.id)
    return others[: limit - 1]


def arms(found: Sequence[RunInfo]) -> list[Arm]:
    """Runs of one setting together, as the report joins them."""
    return arms_of(
        [RunData(one, one.name, runs.config_of(one.run_id), {}, {}, None) for one in found]
    )


def rows(found: Sequence[RunInfo]) -> list[RunRow]:
    """A line for each run, in the order of the arms."""
    return [
        RunRow(run.info, arm.label, seed, mlflow_address(run.info.run_id), doctor(run.info))
        for arm in arms(found)
        for seed, run in arm.runs.items()
    ]


def learning(found: Sequence[RunInfo]) -> list[str]:
    """Figures of every measure on every evaluation set, one line for each arm."""
    names = sorted({n for one in found for n in one.metrics if _EVALUATION.fullmatch(n)}, key=_rank)
    titles = {name: f"{_measure(name)} on {name.split('/')[1]}" for name in names}
    return _panels(found, titles)


def diagnostics(found: Sequence[RunInfo]) -> list[str]:
    """Figures of what tells whether training is sound, one line for each arm."""
    known = {name for one in found for name in one.metrics}
    named = {f"doctor/{cause}": cause for cause in ("zero_advantage", "starved", "all_right")}
    doctor_titles = {name: f"Group doctor: {word}" for name, word in named.items()}
    titles = {**DIAGNOSTICS, **doctor_titles}
    return _panels(found, {name: title for name, title in titles.items() if name in known})


def sources(info: RunInfo, only: Collection[str] = ()) -> list[str]:
    """Figures of one run's action sources over the steps; a click opens the groups of a step.

    ``only`` these keys of `plots.metrics.METRICS`, if any are named.
    """
    names = [n.split("/")[1] for n in info.metrics if re.fullmatch(r"share/.+/kept", n)]
    colours = source_colours([*names, KEPT])
    links = dict.fromkeys([*names, KEPT], addresses(info.run_id))
    figures = []
    for key, metric in (drawn("sources", "shares") | drawn("sources", "lines")).items():
        if only and key not in only:
            continue
        wanted = {source: metric.of(source) for source in [*names, KEPT]}
        curves = _by_source(info, metric, wanted)
        if curves:
            title = f"{metric.title[0].upper()}{metric.title[1:]} ({metric.unit})"
            figures.append(svg.draw(curves, title=title, colours=colours, links=links))
    return figures


def doctor(info: RunInfo) -> str:
    """The group doctor's latest word on a run; empty where it has said nothing."""
    try:
        names = tracking.list_artifacts(info, "group_doctor")
        return tracking.run_artifact(info, names[-1]).read_text("utf-8") if names else ""
    except (MissingData, OSError):
        return ""


def mlflow_address(run: str) -> str:
    """Where MLflow's own page shows a run."""
    uri = store.tracking_uri()
    base = store.shown(uri) if uri.startswith(("http://", "https://")) else MLFLOW
    base = os.environ.get("EKIPL_MLFLOW_URL", base)
    return f"{base.rstrip('/')}/#/runs/{run}"


def addresses(run: str, metric: str = "") -> dict[int, str]:
    """Step -> address of what a run shows there: the items of a stored evaluation for a metric of
    its set (``eval/<set>/...``), else the groups of the step."""
    parts = metric.split("/")
    name = parts[1] if parts[0] == "eval" else ""
    if not (measured := evaluations.list_checkpoints(run, name)):
        return {
            step: _address(run, "recorded", step=step) for step in recorded_groups.list_steps(run)
        }
    mode = "sampled" if parts[-1].startswith("pass_at_") else "greedy"
    return {
        _step(checkpoint): _address(run, "measured", set=name, checkpoint=checkpoint, mode=mode)
        for checkpoint in measured
    }


def _address(run: str, view: str, **more: object) -> str:
    return "?" + urlencode({"run": run, "view": view, **more})


def _step(checkpoint: str) -> int:
    return 0 if checkpoint == START else int(checkpoint.removeprefix("step-"))


def over_seeds(histories: Iterable[Sequence[tuple[int, float]]]) -> list[Point]:
    """The mean at each step, with Student's t interval where 2 or more seeds reached it."""
    values: dict[int, list[float]] = {}
    for history in histories:
        for point in points(history):
            values.setdefault(int(point.x), []).append(point.y)
    curve = []
    for step, found in sorted(values.items()):
        band = paired_t(found) if len(found) > 1 else None
        mean = sum(found) / len(found)
        low, high = (band.low, band.high) if band else (None, None)
        curve.append(Point(step, mean, low, high))
    return curve


def _panels(found: Sequence[RunInfo], titles: Mapping[str, str]) -> list[str]:
    """A figure for each metric; a click near a curve opens what its arm's first run, or the run
    that was chosen (the first of all), shows at that step."""
    joined = arms(found)
    opened = {
        arm.label: next((r for r in own if r == found[0].run_id), own[0])
        for arm in joined
        for own in [[run.info.run_id for run in arm.runs.values()]]
    }
    return [
        svg.draw(
            {
                arm.label: over_seeds(_history(run.info, name) for run in arm.runs.values())
                for arm in joined
            },
            title=title,
            links={label: addresses(run, name) for label, run in opened.items()},
        )
        for name, title in titles.items()
    ]


def _by_source(
    info: RunInfo, metric: Metric, wanted: Mapping[str, str]
) -> dict[str, Sequence[Point]]:
    found = {source: points(_history(info, name)) for source, name in wanted.items()}
    return {source: curve for source, curve in found.items() if curve}


def _history(info: RunInfo, name: str) -> Sequence[tuple[int, float]]:
    if name not in info.metrics:
        return ()
    key = ("history", info.run_id, name)

    def ask() -> Sequence[tuple[int, float]]:
        return tracking.metric_history(info.run_id, [name]).get(name, [])

    return remembered(key, ask, stamp=stamp_of_store, forever=info.status != "RUNNING")


def _rank(name: str) -> tuple[bool, str, str]:
    _, of, measure = name.split("/")
    return measure != "accuracy_greedy", measure, of


def _measure(name: str) -> str:
    words = name.split("/")[2].replace("_greedy", "").replace("pass_at_", "pass@")
    return words.replace("_", " ").capitalize()
