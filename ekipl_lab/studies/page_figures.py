"""The curves of a study's page."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from ekipl_lab.errors import ConfigError
from ekipl_lab.plots.figures import Curves, Point, learning_curves, write_image
from ekipl_lab.studies.config import Study
from ekipl_lab.studies.page_tables import final_values, places
from ekipl_lab.studies.record import CellRecord
from ekipl_lab.tables import markdown_text


def figures(study: Study, records: Sequence[CellRecord], folder: Path) -> str:
    """Curves of greedy accuracy over each cost that a curve has; the Markdown that shows them."""
    shown = []
    for task, name in places(records):
        metric = f"eval/{name}/accuracy_greedy"
        curves = curves_of(study, records, task, metric)
        if not any(len(curve) > 1 for curve in curves.values()):
            continue
        path = folder / f"curve-{task}-{name.replace(' ', '_')}.svg"
        axes = ("policy completions", "greedy accuracy")
        if missing := draw(study, curves, path, f"{task}, {name}", *axes):
            return f"No figures: {missing}"
        shown.append(f"![greedy accuracy over policy completions: {task}, {name}]({path.name})")
    if shown:
        shown.append(
            "Mean over seeds, the band is lowest to highest. Supervised steps alone are one mark, "
            "at the policy completions that they took."
        )
    return "\n\n".join(shown)


def draw(study: Study, curves: Curves, path: Path, title: str, x_title: str, y_title: str) -> str:
    """Write the figure of the arms' curves; what is missing for that, as Markdown, else nothing."""
    figure = learning_curves(
        curves, title=title, x_title=x_title, y_title=y_title, arms=list(study.arms)
    )
    try:
        write_image(figure, path)
    except ConfigError as error:
        return markdown_text(str(error))
    return ""


def curves_of(
    study: Study, records: Sequence[CellRecord], task: str, metric: str
) -> Mapping[str, list[Point]]:
    """Arm -> mean over seeds at each place of its curve; the band is lowest to highest seed.

    Supervised steps alone are one point: the last measurement, at the mean of the completions that
    they took. A curve begins at no cost only where no supervised steps went before it unmeasured.
    """
    curves: dict[str, list[Point]] = {}
    _, name, what = metric.split("/")
    start = start_of(study, records, task, name)
    for arm, own in study.arms.items():
        at: dict[float, list[float]] = {}
        alone: list[tuple[float, float]] = []
        mine = [one for one in records if (one.task, one.arm) == (task, arm)]
        for record in mine:
            for point in record.raw["curve"]:
                if metric in point["metrics"]:
                    place = at.setdefault(point["policy_completions"], [])
                    place.append(point["metrics"][metric])
            if not record.raw["curve"] and (own.preset or arm) != "zero_shot":
                value = record.raw["final"].get(name, {}).get("all", {}).get(what)
                if value is not None:
                    alone.append((record.raw["cost"]["policy_completions"], value))
        if alone:
            place = at.setdefault(statistics.mean(x for x, _ in alone), [])
            place += [y for _, y in alone]
        if at and start and any(p["stage"] == 1 for one in mine for p in one.raw["curve"]):
            at.setdefault(0.0, start)
        curves[arm] = [Point(x, statistics.mean(y), min(y), max(y)) for x, y in sorted(at.items())]
    return {arm: curve for arm, curve in curves.items() if curve}


def start_of(study: Study, records: Sequence[CellRecord], task: str, name: str) -> list[float]:
    """Greedy accuracy before any training, where an arm measures it; the same at every seed."""
    untrained = [arm for arm, own in study.arms.items() if (own.preset or arm) == "zero_shot"]
    values = [
        v for arm in untrained for v in final_values(records, task, arm, name, "accuracy_greedy")
    ]
    return values[:1]
