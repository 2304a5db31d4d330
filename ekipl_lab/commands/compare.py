"""`ekipl compare`: arms side by side, each also from several seeds, then one report of all.

With one file that is a study (`studies.config`) its cells, its records and its page.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ekipl_lab.commands.compare_study import launch_cells, run_study, say_failed
from ekipl_lab.commands.console import CellProgress
from ekipl_lab.commands.options import add_set_option, count, named_path
from ekipl_lab.errors import ConfigError
from ekipl_lab.studies import cells as studies
from ekipl_lab.studies.config import is_study
from ekipl_lab.studies.launchers.local import run_cells
from ekipl_lab.studies.launchers.registry import LAUNCHERS

if TYPE_CHECKING:
    from ekipl_lab.tracking import RunInfo


REPORT = Path("mlruns/report.html")
#: Options that only a study reads: given with configs they would be passed over.
OF_STUDY = ("cell", "events", "estimate", "draw", "launcher_option")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The arms, and how their cells are run."""
    parser.add_argument(
        "configs",
        nargs="+",
        metavar="CONFIG",
        help="YAML files, one for each arm, or a study; then KEY=VALUE",
    )
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=[], help="every arm from each of these seeds"
    )
    add_set_option(parser)
    parser.add_argument(
        "--jobs", type=int, help="cells at a time (default: 2 on this machine, else all)"
    )
    parser.add_argument("--threads", type=count, default=1, help="threads of each process")
    parser.add_argument("--fresh", action="store_true", help="do not continue; start anew")
    parser.add_argument("--print-cells", action="store_true", help="print the commands and stop")
    study = parser.add_argument_group("of a study")
    study.add_argument("--cell", default="", help="run this cell alone, in this process")
    study.add_argument("--events", action="store_true", help="print progress as JSON lines")
    study.add_argument("--estimate", action="store_true", help="say how long it takes and stop")
    study.add_argument("--draw", action="store_true", help="write the page from records alone")
    study.add_argument("--launcher", choices=LAUNCHERS, default="local", help="where the cells run")
    study.add_argument(
        "--launcher-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of slurm and ray, such as partition=gpu (docs/studies.md)",
    )
    parser.add_argument("--report", type=named_path, help=f"default: {REPORT}; a study has its own")


def run(args: argparse.Namespace) -> int:
    """Run the cells and report them; with ``print_cells`` print their commands alone."""
    configs, overrides = _told_apart(args.configs)
    overrides += args.overrides
    if len(configs) == 1 and is_study(configs[0]):
        if args.report is not None:
            raise ConfigError("A study writes its page beside its records; leave --report out.")
        return run_study(args, configs[0], overrides)
    given = [f"--{name.replace('_', '-')}" for name in OF_STUDY if getattr(args, name)]
    given += [f"--launcher {args.launcher}"] if args.launcher != "local" else []
    if given:
        raise ConfigError(f"{given[0]} is for a study; {configs[0]} is a config of `ekipl train`.")
    page = args.report or REPORT
    cells = studies.plan_cells(configs, overrides, args.seeds)
    if args.print_cells:
        for cell in cells:
            print(shlex.join(studies.command(cell, fresh=args.fresh)))
        return 0
    _check_arms(cells, len(configs))
    from ekipl_lab.report import check_page
    from ekipl_lab.tracking import ensure_store
    from ekipl_lab.tracking.comparison import describe, join

    check_page(page)
    ensure_store()
    parent = _parent(cells, fresh=args.fresh)
    with CellProgress([cell.name for cell in cells]) as progress:

        def on_event(name: str, event: Mapping[str, Any]) -> None:
            if event["event"] in ("start", "finish") and event.get("run_id"):
                join(event["run_id"], parent)
            progress(name, event)

        results = launch_cells(run_cells, cells, args, on_event)
    if failed := [result for result in results if result.returncode != 0]:
        return say_failed(failed)
    from ekipl_lab.report import gather_runs, report_runs
    from ekipl_lab.report.answer import answer

    runs = gather_runs([result.run_id for result in results if result.run_id])
    report_runs(runs, page)
    describe(parent.run_id, answer(runs))
    return 0


def _check_recipe(cell: studies.RunSpec) -> None:
    """ConfigError for a recipe that one row of a report cannot show."""
    from ekipl_lab.studies.recipe import plan_recipe

    steps = plan_recipe(None, cell.config, cell.overrides)
    if len(steps) > 1:
        raise ConfigError(
            f"{cell.name} is trained in {len(steps)} stages, and a comparison shows one run of an "
            "arm: its start would be another policy, its cost a part. Compare it in a study "
            "(docs/studies.md), or set `recipe:` to one stage."
        )
    own = steps[0].config.evaluation if steps and steps[0].sft is not None else None
    if own is not None and not (own.at_start or own.at_end):
        raise ConfigError(
            f"{cell.name} is measured before and after its supervised steps only; set "
            "evaluation.at_start or at_end."
        )


def _parent(cells: Sequence[studies.RunSpec], *, fresh: bool) -> RunInfo:
    """The run of MLflow that the arms are under."""
    from ekipl_lab.tracking.comparison import comparison_run
    from ekipl_lab.training.config.run_config import load_config

    config = load_config(cells[0].config, cells[0].overrides)
    settings = [(cell.name, str(cell.config), cell.overrides) for cell in cells]
    names = [cell.name for cell in cells]
    return comparison_run(config.tracking.experiment, names, settings, fresh=fresh)


def _told_apart(arguments: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Config files, and the overrides of all arms: what has an equals sign and is no file."""
    overrides = [given for given in arguments if "=" in given and not Path(given).is_file()]
    configs = [Path(given) for given in arguments if given not in overrides]
    if not configs:
        raise ConfigError(f"No config file is given beside {overrides[0]!r}; name one per arm.")
    return configs, overrides


def _check_arms(cells: Sequence[studies.RunSpec], arms: int) -> None:
    """ConfigError unless the arms of each seed share all that must be equal, and are measured."""
    from ekipl_lab.training.config.plan import check_comparable, plan_run
    from ekipl_lab.training.config.run_config import load_config

    for cell in cells[:arms]:
        _check_recipe(cell)
    for start in range(0, len(cells), arms):
        of_seed = cells[start : start + arms]
        check_comparable([(cell.name, cell.config, cell.overrides) for cell in of_seed])
    config = load_config(cells[0].config, cells[0].overrides)  # the others are measured alike
    own = config.evaluation
    within = 0 < own.every <= plan_run(config).steps
    if not own.sets or not (own.at_start or own.at_end or within):
        raise ConfigError(
            f"{cells[0].name} is evaluated on nothing or never, so that there would be nothing to "
            "compare; set evaluation.sets, and at_start or at_end."
        )
