"""The page: one HTML file that needs nothing else, offline included."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ekipl_lab import __version__, tracking
from ekipl_lab.errors import DataError
from ekipl_lab.plots import figures as plots
from ekipl_lab.report import (
    across_seeds,
    breakdown,
    chains,
    figures,
    provenance,
    reference,
    seed_slices,
    tables,
    training,
)
from ekipl_lab.report.arms import Arm, arms_of, representatives, several_seeds
from ekipl_lab.report.cells import Table
from ekipl_lab.report.gather import RunData, check_arms

_TEMPLATE = Path(__file__).with_name("page.html.j2")


def build_report(runs: Sequence[RunData], title: str | None = None) -> str:
    """The whole page as HTML; ``gather_runs`` gives ``runs``, the first is the one compared with.

    Arms of several seeds are compared over seeds; below that, one run of each arm is shown.
    Everything that a model wrote is escaped, and a content policy forbids the page to load
    anything. Raises ConfigError if nothing was evaluated.
    """
    check_arms(runs)
    arms = arms_of(runs)
    many = several_seeds(arms)
    shown = representatives(arms) if many else list(runs)
    changes = chains.changes(shown)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    html = template.render(
        title=title or page_title(runs),
        lead=_lead(runs),
        seeds=provenance.seeds_note(runs),
        warnings=provenance.warnings(runs),
        colours=plots.source_colours(
            {"policy", *(teacher for run in shown for teacher in run.teachers)}
        ),
        plotly=Markup(get_plotlyjs().replace("</script", "<\\/script")),
        over_seeds=across_seeds.over_seeds(arms) if many else None,
        power=across_seeds.power(arms) if many else None,
        headline=tables.headline(shown),
        one_run=many and shown[0].config.get("seed"),
        all_runs=across_seeds.each_run(runs) if many else None,
        quality=_quality(arms, shown),
        controls=reference.controls(shown),
        published=reference.published(runs),
        slices=_slices(arms, shown),
        sources=training.sources(shown),
        ceiling=reference.ceiling(shown),
        zero_causes=training.zero_causes(shown),
        costs=provenance.costs(runs),
        difference_figures=_drawn(figures.difference_figures(shown)),
        trained=any(not run.is_evaluation for run in shown),
        accuracy_figures=_drawn(figures.accuracy_figures(shown)),
        training_figures=_drawn(figures.training_figures(shown)),
        cost_figures=_drawn(figures.cost_figures(shown)),
        changes=changes,
        examples=chains.EXAMPLES,
        pictured=any(item.images for change in changes for item in change.items),
        training_groups=[(run.label, chains.training_groups(run)) for run in _taught(shown)],
        overlaps=reference.overlaps(runs),
        fingerprints=provenance.fingerprints(runs),
        config_difference=provenance.config_difference(runs),
        configs=[(run.label, provenance.whole_config(run)) for run in runs],
        packages=_packages(runs[0]),
        version=__version__,
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )
    return html.lstrip()


def all_tables(runs: Sequence[RunData]) -> list[Table]:
    """The tables of the page in its order, those that hold something: for Markdown and LaTeX."""
    check_arms(runs)
    arms = arms_of(runs)
    many = several_seeds(arms)
    shown = representatives(arms) if many else list(runs)
    found = [
        *([across_seeds.over_seeds(arms), across_seeds.power(arms)] if many else []),
        tables.headline(shown),
        *([across_seeds.each_run(runs)] if many else []),
        _quality(arms, shown),
        reference.controls(shown),
        reference.published(runs),
        *_slices(arms, shown),
        training.sources(shown),
        reference.ceiling(shown),
        training.zero_causes(shown),
        provenance.costs(runs),
        reference.overlaps(runs),
        provenance.fingerprints(runs),
        provenance.config_difference(runs),
    ]
    return [table for table in found if table.rows]


def page_title(runs: Sequence[RunData]) -> str:
    """The arms, one against the other."""
    return " against ".join(arm.label for arm in arms_of(runs))


def _slices(arms: Sequence[Arm], runs: Sequence[RunData]) -> list[Table]:
    names = ("family", "stratum", "difficulty")
    if several_seeds(arms):
        return [seed_slices.slices_over_seeds(arms, name) for name in names]
    return [breakdown.slices(runs, (name,), f"Accuracy by {name}") for name in names]


def _quality(arms: Sequence[Arm], runs: Sequence[RunData]) -> Table:
    many = several_seeds(arms)
    return seed_slices.quality_over_seeds(arms) if many else breakdown.quality(runs)


def _lead(runs: Sequence[RunData]) -> str:
    first = runs[0]
    data = first.config.get("data", {})
    what = f"{data.get('benchmark', 'benchmark')}/{data.get('task', 'task')}"
    day = datetime.fromtimestamp(max(run.info.start for run in runs), UTC)
    if all(run.is_evaluation for run in runs):
        return f"{what} · evaluations · {day:%d %B %Y}"
    teachers = sorted({teacher for run in runs for teacher in run.teachers})
    taught = f"teachers: {', '.join(teachers)}" if teachers else "no teachers"
    return f"{what} · {taught} · experiment {first.info.experiment} · {day:%d %B %Y}"


def _taught(runs: Sequence[RunData]) -> list[RunData]:
    """Groups are shown of arms with teachers; of the first arm where none has any."""
    return [run for run in runs if run.teachers] or list(runs[:1])


def _drawn(shown: Sequence[figures.Shown]) -> list[dict[str, Any]]:
    """Each figure as JSON that can stand in a script element; the page draws it."""
    return [
        {
            "json": Markup(one.figure.to_json().replace("<", "\\u003c")),
            "height": one.figure.layout.height,
            "text": one.text,
        }
        for one in shown
    ]


def _packages(run: RunData) -> list[tuple[str, str]]:
    if run.is_evaluation:
        about = dict(run.about.get("environment", {}))
        packages = about.pop("packages", {})
        return [(name, str(value)) for name, value in (*about.items(), *packages.items())]
    try:
        text = tracking.run_artifact(run.info.run_id, "environment.json").read_text("utf-8")
    except DataError:
        return []
    found = json.loads(text)
    packages = found.pop("packages", {})
    return [(name, str(value)) for name, value in (*found.items(), *packages.items())]
