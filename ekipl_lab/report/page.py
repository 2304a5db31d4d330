"""The page: one HTML file that needs nothing else, offline included."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from ekipl_lab import __version__, tracking
from ekipl_lab.errors import MissingData
from ekipl_lab.plots.figures import source_colours
from ekipl_lab.plots.page import figure_html, scripts
from ekipl_lab.report import (
    answer,
    caveats,
    chains,
    figures,
    provenance,
    reference,
    seeds,
    tables,
    training,
)
from ekipl_lab.report.arms import Arm, arms_of, representatives, several_seeds
from ekipl_lab.report.figures import Shown
from ekipl_lab.report.gather import RunData, check_arms
from ekipl_lab.tables import Table, as_code, as_html
from ekipl_lab.types import POLICY

_TEMPLATE = Path(__file__).with_name("page.html.j2")
SLICES = ("family", "stratum", "difficulty")


@dataclass(frozen=True, slots=True)
class Folded:
    """A table that is opened by a click on its title."""

    table: Table


#: Figures are drawn only where they are shown.
Part = Table | Folded | Callable[[], Sequence[Shown]]


@dataclass(frozen=True, slots=True)
class Section:
    """Tables and figures under one heading; ``id`` is its place on the page."""

    id: str
    nav: str
    title: str
    parts: Sequence[Part]


def build_report(runs: Sequence[RunData], title: str | None = None) -> str:
    """The whole page as HTML; ``gather_runs`` gives ``runs``, the first is the one compared with.

    Arms of several seeds are compared over seeds; below that, one run of each arm is shown.
    Everything that a model wrote is escaped, and a content policy forbids the page to load
    anything. Raises ConfigError if nothing was evaluated.
    """
    check_arms(runs)
    shown = _shown(runs)
    taught = [run for run in shown if run.teachers] or shown[:1]
    trained = any(not run.is_evaluation for run in shown)
    changes = chains.changes(shown)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["html"] = _html
    environment.filters["code"] = lambda text: Markup(as_code(text))
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    html = template.render(
        title=title or page_title(runs),
        lead=_lead(runs),
        answer=answer.answer(runs),
        seeds=caveats.seeds_note(runs),
        warnings=caveats.warnings(runs),
        sections=_sections(runs),
        changes=changes,
        examples=chains.EXAMPLES,
        pictured=any(item.images for change in changes for item in change.items),
        groups=[(run.label, chains.training_groups(run)) for run in taught] if trained else [],
        colours=source_colours({POLICY, *(teacher for run in shown for teacher in run.teachers)}),
        origin=_origin(runs),
        listings=[
            *((f"All settings of {run.label}", provenance.whole_config(run)) for run in runs),
            ("Packages", _packages(runs[0])),
        ],
        scripts=Markup(scripts()),
        version=__version__,
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )
    return html.lstrip()


def all_tables(runs: Sequence[RunData]) -> list[Table]:
    """The tables of the page in its order, those that hold something: for Markdown and LaTeX."""
    check_arms(runs)
    parts = [part for section in _sections(runs) for part in section.parts] + _origin(runs)
    found = [part.table if isinstance(part, Folded) else part for part in parts]
    return [table for table in found if isinstance(table, Table) and table.rows]


def page_title(runs: Sequence[RunData]) -> str:
    """The arms, one against the other."""
    return " against ".join(arm.label for arm in arms_of(runs))


def _shown(runs: Sequence[RunData]) -> list[RunData]:
    """All runs; where arms have several seeds, one of each arm."""
    arms = arms_of(runs)
    return representatives(arms) if several_seeds(arms) else list(runs)


def _sections(runs: Sequence[RunData]) -> list[Section]:
    """The sections before the chains; those about training only where something was trained."""
    shown = _shown(runs)
    found = [
        Section("results", "Results", "Results", _results(runs, shown, arms_of(runs))),
        Section(
            "curves",
            "Curves",
            "Accuracy and pass@k by step",
            [partial(figures.accuracy_figures, shown)],
        ),
        Section("slices", "Slices", "By family, stratum and difficulty", _slices(runs)),
        Section(
            "training",
            "Training",
            "What happened in training",
            [
                training.sources(shown),
                reference.ceiling(shown),
                training.zero_causes(shown),
                partial(figures.training_figures, shown),
            ],
        ),
        Section(
            "cost", "Cost", "Cost", [provenance.costs(runs), partial(figures.cost_figures, shown)]
        ),
    ]
    trained = any(not run.is_evaluation for run in shown)
    return [part for part in found if trained or part.id not in ("curves", "training")]


def _results(runs: Sequence[RunData], shown: Sequence[RunData], arms: Sequence[Arm]) -> list[Part]:
    first: list[Part] = [answer.families(shown), tables.headline(shown)]
    many = several_seeds(arms)
    if many:
        one_run = f"One run of each arm (seed {shown[0].config.get('seed')})"
        first = [
            seeds.over_seeds(arms),
            seeds.power(arms),
            answer.families(shown),
            tables.headline(shown, one_run),
            Folded(tables.each_run(runs)),
        ]
    return [
        *first,
        partial(figures.difference_figures, shown),
        seeds.quality_over_seeds(arms) if many else tables.quality(shown),
        reference.controls(shown),
        reference.published(runs),
    ]


def _slices(runs: Sequence[RunData]) -> list[Part]:
    arms = arms_of(runs)
    if several_seeds(arms):
        return [seeds.slices_over_seeds(arms, name) for name in SLICES]
    return [tables.slices(runs, name) for name in SLICES]


def _origin(runs: Sequence[RunData]) -> list[Part]:
    return [
        provenance.fingerprints(runs),
        reference.overlaps(runs),
        provenance.config_difference(runs),
    ]


def _lead(runs: Sequence[RunData]) -> str:
    first = runs[0]
    data = first.config.get("data", {})
    what = f"{data.get('benchmark', 'benchmark')}/{data.get('task', 'task')}"
    day = datetime.fromtimestamp(max(run.info.start for run in runs), UTC)
    if all(run.is_evaluation for run in runs):
        return f"{what} · evaluations · {day:%d %B %Y}"
    teachers = sorted({teacher for run in runs for teacher in (*run.teachers, *run.asked)})
    taught = f"teachers: {', '.join(teachers)}" if teachers else "no teachers"
    return f"{what} · {taught} · experiment {first.info.experiment} · {day:%d %B %Y}"


def _html(part: Part) -> Markup:
    """A part of the page; figures as JSON that the page draws."""
    if isinstance(part, Table):
        return Markup(as_html(part))
    if isinstance(part, Folded):
        inner = as_html(part.table, title=False)
        summary = Markup("<details><summary>{}</summary>").format(part.table.title)
        return summary + Markup(f'<div class="inner">{inner}</div></details>')
    drawn = [
        Markup("<figure>{}<figcaption>{}</figcaption></figure>").format(
            Markup(figure_html(one.figure)), Markup(as_code(one.text))
        )
        for one in part()
    ]
    frame = '<div class="figures">{}</div>' if drawn else ""
    return Markup(frame).format(Markup("").join(drawn))


def _packages(run: RunData) -> list[tuple[str, str]]:
    if run.is_evaluation:
        about = dict(run.about.get("environment", {}))
    else:
        try:
            text = tracking.run_artifact(run.info.run_id, "environment.json").read_text("utf-8")
        except MissingData:
            return []
        about = json.loads(text)
    packages = about.pop("packages", {})
    return [(name, str(value)) for name, value in (*about.items(), *packages.items())]
