"""`ekipl compare STUDY.yaml`: the cells of a study, its records and its page."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ekipl_lab.commands.console import CellProgress
from ekipl_lab.errors import ConfigError
from ekipl_lab.studies import cells as plain
from ekipl_lab.studies.config import load_study
from ekipl_lab.studies.launchers.local import JOBS
from ekipl_lab.studies.launchers.registry import Launch, get_launcher

if TYPE_CHECKING:
    from ekipl_lab.studies.plan import Cell


def run_study(args: argparse.Namespace, file: Path, overrides: Sequence[str]) -> int:
    """Run what has no record yet, then write the page; or one cell, the commands, the page."""
    from ekipl_lab.studies.estimate import describe
    from ekipl_lab.studies.inputs import check_alike, inputs_of
    from ekipl_lab.studies.page import write_page
    from ekipl_lab.studies.plan import as_spec, check_cells, find_cell, plan_study, study_folder
    from ekipl_lab.studies.record import read_records_of
    from ekipl_lab.studies.sources import gather_sources
    from ekipl_lab.tracking import ensure_store

    _check_flags(args)
    study = load_study(file)
    planned = plan_study(study, args.seeds, overrides)
    specs = {cell.name: as_spec(cell, file, overrides, args.seeds) for cell in planned}
    if args.cell:
        chosen = find_cell(planned, args.cell)
        if not (args.print_cells or args.estimate):
            return _one(chosen, specs[args.cell], args)
        planned, specs = [chosen], {args.cell: specs[args.cell]}
    if args.print_cells:
        for spec in specs.values():
            print(shlex.join(plain.command(spec, fresh=args.fresh)))
        return 0
    folder = study_folder(study)
    runs = not args.draw and not args.estimate
    if runs and not args.fresh:
        _gather(planned, args)
    left = [cell for cell in planned if args.fresh or cell.finished() is None]
    print(describe(planned, left, args.jobs or JOBS, folder.parent), flush=True)
    failed: list[plain.CellResult] = []
    if left and runs:
        check_cells(left)
        ours = {cell.name for cell in planned} - {cell.name for cell in left}
        done = [one for one in read_records_of(folder) if one.raw["cell"] in ours]
        check_alike(done, {cell.name: inputs_of(cell) for cell in left})
        failed = _launch([specs[cell.name] for cell in left], study.name, args)
        _gather(planned, args)
        _check_records(left, {result.cell.name for result in failed})
    if args.estimate:
        return 0
    if args.seeds:  # the page is of the whole study
        planned = plan_study(study, sorted({*study.seeds, *args.seeds}), overrides)
        for cell in planned:
            cell.finished()  # refuses records of other settings
    names = {cell.name for cell in planned}
    records = [one for one in read_records_of(folder) if one.raw["cell"] in names]
    check_alike(records, {})
    if not records:
        print(f"No page: {folder / 'cells'} has no record of this study yet.")
    else:
        if runs:
            ensure_store()
            gather_sources(planned, folder)
        print(f"Page: {write_page(study, records, len(planned), folder)}")
    return say_failed(failed)


def _check_flags(args: argparse.Namespace) -> None:
    """ConfigError for flags that cannot be, or not together, whatever is left to do."""
    if args.jobs is not None and args.jobs < 1:
        raise ConfigError(f"--jobs is {args.jobs}; it must be at least 1.")
    if args.cell and args.draw:
        raise ConfigError("--cell runs one cell, and --draw none; leave one of them out.")
    get_launcher(args.launcher, args.launcher_option)


def _gather(cells: Sequence[Cell], args: argparse.Namespace) -> None:
    """Fetch records from MLflow that were written elsewhere; what runs here writes them here."""
    from ekipl_lab.studies.launchers.gather import gather
    from ekipl_lab.tracking import ensure_store

    if args.launcher != "local":
        ensure_store()
        if found := gather(cells):
            print(f"Records from MLflow: {', '.join(found)}")


def _check_records(cells: Sequence[Cell], failed: set[str]) -> None:
    """ConfigError for a cell that ended well and whose record is nowhere."""
    from ekipl_lab.tracking import tracking_uri
    from ekipl_lab.tracking.store import shown

    for cell in cells:
        if cell.name not in failed and not cell.record.exists():
            raise ConfigError(
                f"Cell {cell.name} has finished, but its record is neither at {cell.record} nor in "
                f"MLflow at {shown(tracking_uri())}; let all machines share a folder, or an MLflow "
                "server through MLFLOW_TRACKING_URI."
            )


def _launch(
    specs: Sequence[plain.RunSpec], study: str, args: argparse.Namespace
) -> list[plain.CellResult]:
    """Run the cells; those that failed."""
    from ekipl_lab.studies.run import study_run
    from ekipl_lab.tracking import ensure_store

    launch = get_launcher(args.launcher, args.launcher_option)
    ensure_store()
    study_run(study)
    with CellProgress([spec.name for spec in specs]) as progress:
        results = launch_cells(launch, specs, args, progress)
    return [result for result in results if result.returncode != 0]


def launch_cells(
    launch: Launch,
    specs: Sequence[plain.RunSpec],
    args: argparse.Namespace,
    on_event: plain.EventSink,
) -> list[plain.CellResult]:
    """Run the cells as the options say, their logs in the store's folder; results in order."""
    from ekipl_lab.tracking import store_folder

    return launch(
        specs,
        jobs=args.jobs,
        threads=args.threads,
        logs=store_folder() / "logs",
        on_event=on_event,
        fresh=args.fresh,
    )


def _one(cell: object, spec: plain.RunSpec, args: argparse.Namespace) -> int:
    """Run one cell in this process."""
    from ekipl_lab.commands.train import stop_with_parent
    from ekipl_lab.studies.plan import Cell
    from ekipl_lab.studies.run import print_event, run_cell
    from ekipl_lab.tracking import ensure_store

    assert isinstance(cell, Cell)
    ensure_store()
    line = ["ekipl", *spec.words]
    if args.events:
        stop_with_parent()
        run_cell(cell, line, print_event, fresh=args.fresh)
        return 0
    with CellProgress([cell.name]) as progress:
        path = run_cell(cell, line, lambda event: progress(cell.name, event), fresh=args.fresh)
    print(f"Record: {path}")
    return 0


def say_failed(results: Sequence[plain.CellResult]) -> int:
    """Say of each cell that failed how it ended; the highest exit code."""
    for result in results:
        said = f"{result.cell.name} failed: {result.last_line()} (log: {result.log})"
        print(said, file=sys.stderr)
    return max((result.returncode for result in results), default=0)
