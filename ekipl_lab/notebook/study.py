"""Studies in a notebook: what is planned, what has a record, and a small one run in a cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ekipl_lab.errors import ConfigError
from ekipl_lab.notebook.tables import as_frame
from ekipl_lab.studies.config import Study, is_study, load_study
from ekipl_lab.studies.plan import Cell, as_spec, plan_study, study_folder
from ekipl_lab.studies.record import CellRecord, read_records_of

if TYPE_CHECKING:
    import pandas as pd

    from ekipl_lab.studies.recipe import Step
    from ekipl_lab.tables import Table
    from ekipl_lab.training.config.run_config import RunConfig


@dataclass(frozen=True, slots=True, repr=False)
class StudyView:
    """A study with the records that there are; tables and figures are of those alone."""

    study: Study
    cells: tuple[Cell, ...]
    records: tuple[CellRecord, ...]

    def __repr__(self) -> str:
        return f"study {self.study.name}: {len(self.records)} of {len(self.cells)} cells"

    def _repr_markdown_(self) -> str:
        """The answer in words and how much of the study it rests on."""
        from ekipl_lab.studies.page import all_contrasts, answer, state
        from ekipl_lab.tables import markdown_text

        head = [f"## {markdown_text(self.study.name)}", markdown_text(self.study.question)]
        if not self.records:
            left = f"No cell of {len(self.cells)} has a record yet: there is no answer."
            return "\n\n".join([*head, left])
        said = answer(self.study, self.records, all_contrasts(self.study, self.records))[2:]
        rest = state(self.study, self.records, len(self.cells))
        return "\n\n".join([*head, "\n".join(said), rest])

    @property
    def places(self) -> list[tuple[str, str]]:
        """(task, evaluation set) of all records, in order of appearance."""
        from ekipl_lab.studies.page_tables import places

        return places(self.records)

    @property
    def arms(self) -> pd.DataFrame:
        """Each arm: the stages of its cell, and how many of its cells have a record."""
        import pandas as pd

        rows = []
        for arm in self.study.arms:
            cell = next(cell for cell in self.cells if cell.arm == arm)
            stages = [_stage(step, cell.base) for step in cell.steps]
            done = sum(record.arm == arm for record in self.records)
            planned = sum(cell.arm == arm for cell in self.cells)
            rows.append({"arm": arm, "stages": ", then ".join(stages) or "none: as it is",
                         "cells": planned, "with a record": done})  # fmt: skip
        return pd.DataFrame(rows).set_index("arm")

    @property
    def final(self) -> pd.DataFrame:
        """Every arm's final measurement, with intervals over seeds (one seed: over items)."""
        from ekipl_lab.studies.page_tables import final_table

        return _by_place(
            {place: final_table(self.study, self.records, *place) for place in self.places}
        )

    @property
    def differences(self) -> pd.DataFrame:
        """Every arm minus the baseline, paired, with both intervals and the verdict."""
        from ekipl_lab.studies.page import all_contrasts
        from ekipl_lab.studies.page_tables import difference_table

        rows = all_contrasts(self.study, self.records)
        of = {place: [r for r in rows if (r.task, r.set) == place] for place in self.places}
        return _by_place({place: difference_table("", own) for place, own in of.items() if own})

    @property
    def costs(self) -> pd.DataFrame:
        """What a cell of each arm costs, on every axis."""
        from ekipl_lab.studies.page_tables import cost_table

        return _frame(cost_table(self.study, self.records))

    def figure(self, metric: str = "accuracy_greedy", place: tuple[str, str] | None = None) -> Any:
        """A metric of every arm by family at the end, means over seeds.

        ``place`` is a task and an evaluation set of ``places``: by default the first.
        """
        from ekipl_lab.evaluation import find_metric
        from ekipl_lab.plots.bars import dots
        from ekipl_lab.plots.figures import Point

        if not self.records:
            raise ConfigError(f"Study {self.study.name} has no record; run `ekipl compare` first.")
        task, held = place or self.places[0]
        series: dict[str, dict[str, Point]] = {}
        for arm in self.study.arms:
            cells = [r for r in self.records if (r.task, r.arm) == (task, arm)]
            groups = [r.raw["final"][held] for r in cells if held in r.raw["final"]]
            names = sorted({name for group in groups for name in group})
            values = {n: [g[n][metric] for g in groups if metric in g.get(n, {})] for n in names}
            if groups:
                series[arm] = {n: Point(0, sum(v) / len(v)) for n, v in values.items() if v}
        title = find_metric(metric).title
        return dots(series, title=f"{self.study.name}, {task} {held}: {title}", y_title=title)

    def time_left(self, like: StudyView) -> str:
        """How long the cells without a record will take, at the speed of another study's."""
        from ekipl_lab.studies.estimate import seconds_each, seconds_of

        left = [cell for cell in self.cells if cell.finished() is None]
        rates = seconds_each(study_folder(like.study).parent)
        times = [seconds_of(cell, rates) for cell in left]
        known = [seconds for seconds in times if seconds is not None]
        text = f"{len(left)} of {len(self.cells)} cells are to run."
        if known:
            hours = sum(known) / 3600
            text += f" {len(known)} of them will take about {hours:.1f} core-hours."
        if len(known) < len(left):
            text += f" {len(left) - len(known)} hold a kind of work that no record has timed."
        return text


def study(
    path: str | Path, *, seeds: Sequence[int] = (), overrides: Sequence[str] = ()
) -> StudyView:
    """A study file with its committed records; may be named from the project's root."""
    from ekipl_lab.notebook.face import _found

    planned = plan_study(found := load_study(Path(_found(path))), seeds, overrides)
    names = {cell.name for cell in planned}
    records = [one for one in read_records_of(study_folder(found)) if one.raw["cell"] in names]
    return StudyView(found, tuple(planned), tuple(records))


def list_studies() -> pd.DataFrame:
    """Every study of ``configs/studies``: what it asks, and how many of its cells have a record."""
    import pandas as pd

    from ekipl_lab.tracking.store import project_root

    paths = sorted((project_root() / "configs" / "studies").glob("*.yaml"))
    views = [study(path) for path in paths if is_study(path)]
    rows = [
        {
            "study": view.study.name,
            "question": view.study.question,
            "arms": len(view.study.arms),
            "cells": len(view.cells),
            "with a record": len(view.records),
        }
        for view in views
    ]
    return pd.DataFrame(rows).set_index("study")


def run_study(
    path: str | Path,
    *,
    seeds: Sequence[int] = (),
    overrides: Sequence[str] = (),
    records: str | Path | None = None,
) -> StudyView:
    """Run the cells that have no record, one after the other in this process.

    `ekipl compare PATH` does the same, side by side in processes of their own. Records go to
    ``records`` (default: beside the store), not into the project.
    """
    import yaml

    from ekipl_lab.notebook.face import _found
    from ekipl_lab.studies.run import run_cell
    from ekipl_lab.tracking import ensure_store, store_folder

    ensure_store()
    folder = Path(records or store_folder() / "studies").resolve()
    raw = yaml.safe_load(Path(_found(path)).read_text(encoding="utf-8"))
    file = folder / f"{raw['name']}.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump({**raw, "records": str(folder)}, sort_keys=False), "utf-8")
    planned = plan_study(load_study(file), seeds, overrides)
    for number, cell in enumerate(planned, 1):
        print(f"cell {number} of {len(planned)}: {cell.name}")
        spec = as_spec(cell, file, overrides, seeds)
        run_cell(cell, ["ekipl", *spec.words], lambda event: None)
    return study(file, seeds=seeds, overrides=overrides)


def _frame(table: Table) -> pd.DataFrame:
    return as_frame(table).set_index(table.columns[0])


def _by_place(tables: Mapping[tuple[str, str], Table]) -> pd.DataFrame:
    """Tables of (task, evaluation set), one below the other; where there are several each row
    begins with its task and set."""
    import pandas as pd

    frames = {place: _frame(table) for place, table in tables.items()}
    if len(frames) > 1:
        return pd.concat(frames, names=["task", "set"])
    return next(iter(frames.values()), pd.DataFrame())


def _stage(step: Step, base: RunConfig) -> str:
    """A stage in a few words: how long, by which rule, who teaches, what else is not the base's."""
    if step.sft is not None:
        return "supervised steps on teacher actions"
    own, grpo = step.config, step.config.grpo_settings
    teachers = ", ".join(f"{t.id} x {t.actions}" for t in own.teachers) or "no teacher"
    else_set = own.ekipl.model_dump(exclude_defaults=True, exclude={"selection", "schedules"})
    words = [f"{name} {_short(value)}" for name, value in else_set.items()]
    words += [
        f"{name} {grpo[name]}"
        for name in ("num_generations", "beta", "learning_rate")
        if grpo.get(name) != base.grpo_settings.get(name)
    ]
    return ", ".join([f"{grpo['max_steps']} steps of {own.ekipl.selection}", teachers, *words])


def _short(value: Any) -> str:
    """Settings without the marks of a dict."""
    if isinstance(value, dict):
        return " ".join(f"{name} {_short(one)}" for name, one in value.items())
    return str(value)
