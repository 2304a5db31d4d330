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

from ekipl_lab import __version__, plots, tracking
from ekipl_lab.errors import DataError
from ekipl_lab.report import chains, figures, origin, tables, training
from ekipl_lab.report.gather import RunData, check_arms

_TEMPLATE = Path(__file__).with_name("page.html.j2")


def build_report(runs: Sequence[RunData], title: str | None = None) -> str:
    """The whole page as HTML; ``gather_runs`` gives ``runs``, the first is the one compared with.

    Everything that a model wrote is escaped, and a content policy forbids the page to load
    anything. Raises ConfigError if nothing was evaluated.
    """
    check_arms(runs)
    labels = [run.label for run in runs]
    changes = chains.changes(runs)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    html = template.render(
        title=title or " against ".join(labels),
        lead=_lead(runs),
        seeds=origin.seeds_note(runs),
        warnings=origin.warnings(runs),
        colours=plots.source_colours(
            {"policy", *(teacher for run in runs for teacher in run.teachers)}
        ),
        plotly=Markup(get_plotlyjs().replace("</script", "<\\/script")),
        headline=tables.headline(runs),
        quality=tables.quality(runs),
        slices=[
            tables.slices(runs, ("family",), "Greedy accuracy by family"),
            tables.slices(runs, ("difficulty",), "Greedy accuracy by difficulty"),
        ],
        sources=training.sources(runs),
        zero_causes=training.zero_causes(runs),
        costs=origin.costs(runs),
        difference_figures=_drawn(figures.difference_figures(runs)),
        accuracy_figures=_drawn(figures.accuracy_figures(runs)),
        training_figures=_drawn(figures.training_figures(runs)),
        cost_figures=_drawn(figures.cost_figures(runs)),
        changes=changes,
        examples=chains.EXAMPLES,
        pictured=any(item.images for change in changes for item in change.items),
        training_groups=[(run.label, chains.training_groups(run)) for run in _taught(runs)],
        fingerprints=origin.fingerprints(runs),
        config_difference=origin.config_difference(runs),
        configs=[(run.label, origin.whole_config(run)) for run in runs],
        packages=_packages(runs[0]),
        version=__version__,
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )
    return html.lstrip()


def _lead(runs: Sequence[RunData]) -> str:
    first = runs[0]
    data = first.config.get("data", {})
    what = f"{data.get('benchmark', 'benchmark')}/{data.get('task', 'task')}"
    teachers = sorted({teacher for run in runs for teacher in run.teachers})
    taught = f"teachers: {', '.join(teachers)}" if teachers else "no teachers"
    day = datetime.fromtimestamp(max(run.info.start for run in runs), UTC)
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
    try:
        text = tracking.run_artifact(run.info.run_id, "environment.json").read_text("utf-8")
    except DataError:
        return []
    found = json.loads(text)
    packages = found.pop("packages", {})
    return [(name, str(value)) for name, value in (*found.items(), *packages.items())]
