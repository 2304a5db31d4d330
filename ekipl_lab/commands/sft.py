"""`ekipl sft`: supervised fine-tuning of any policy, or a tiny one made for a task or own data."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ekipl_lab.commands.options import AddOverrides, add_set_option, named_path
from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.validation import load_yaml

if TYPE_CHECKING:
    from ekipl_lab.training.sft.own import OwnSFT
    from ekipl_lab.training.sft.run import Log, Watch

#: Option -> the setting that it is.
OPTIONS = ("minutes", "steps", "seed", "init")
#: Options of tiny policies alone.
ONLY_TINY = (*OPTIONS, "task", "out", "answers_only")
#: Of the table that is printed at the end.
COLUMNS = (
    "questions", "n", "accuracy", "95 % interval", "most common", "prior", "other pictures",
)  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    """The recipe, or the data and what to make of them."""
    add = parser.add_argument
    add(
        "--config",
        type=named_path,
        help="YAML file: a run's config with `sft:`, a recipe, or `data:`",
    )
    add("--data", help="YAML file of your own data (docs/own_policy.md)")
    add("--task", help="default: the one that the data name")
    add("--out", type=named_path, help="folder of the policy")
    add("--minutes", type=float, help="of one core; default 15")
    add("--steps", type=int, help="so many steps instead")
    add("--seed", type=int, help="default 0")
    add("--init", help="policy whose weights it begins with, or none; default: the shipped one")
    add("--answers-only", action="store_true", help="do not learn the chains of the data")
    add("--fresh", action="store_true", help="a run's config: do not continue; start anew")
    help = "of a run's config, such as sft.learn=answers"
    add("overrides", nargs="*", action=AddOverrides, default=[], metavar="KEY=VALUE", help=help)
    add_set_option(parser)


def run(args: argparse.Namespace) -> int:
    """Train, or continue; say where the policy is."""
    if (args.config is None) == (args.data is None):
        raise ConfigError("Give either --config (a recipe) or --data (your own data) with --out.")
    raw = None if args.config is None else load_yaml(args.config)
    if isinstance(raw, dict) and "policy" in raw:
        return _stage(raw, args)
    if args.overrides or args.fresh:
        raise ConfigError("KEY=VALUE and --fresh are for a run's config (with `policy:`).")
    if args.data is None and not (isinstance(raw, dict) and "data" in raw):
        return _recipe(args.config)
    own = own_settings(args, raw)
    from ekipl_lab.training.sft.own_card import NO_VALIDATION
    from ekipl_lab.training.sft.own_run import run_own

    with _shown(own.name, own.folder / "log.jsonl") as (log, watch):
        reached = run_own(own, log, watch)
    print_reached(reached)
    print(f"Policy saved in {own.output}; its card is README.md there.")
    print(f"GRPO from it: ekipl train --config {own.output / 'grpo.yaml'}")
    if reached["held_out"]:
        print(NO_VALIDATION)
    return 0


def _stage(raw: dict[str, Any], args: argparse.Namespace) -> int:
    """Supervised steps of the policy of a run's config."""
    from ekipl_lab.commands.console import CellProgress
    from ekipl_lab.training.config.action_sft import ActionSFT, check_none_idle
    from ekipl_lab.training.config.overrides import apply_override
    from ekipl_lab.training.config.run_config import parse_config
    from ekipl_lab.training.sft.stage import supervise

    if given := [name for name in ONLY_TINY if getattr(args, name) not in (None, False)]:
        raise ConfigError(
            f"--{given[0].replace('_', '-')} is not for a run's config; set its keys, such as "
            "sft.learn=answers or data.task=counting."
        )
    for override in args.overrides:
        apply_override(raw, override)
    config = parse_config({"name": args.config.stem, **raw})
    if config.recipe is not None:
        raise ConfigError("recipe is of `ekipl train`; leave it out, or give the config to that.")
    settings = config.sft or ActionSFT()
    check_none_idle(settings, settings.model_fields_set)
    config = config.model_copy(update={"sft": None})
    with CellProgress([config.name]) as progress:
        done = supervise(
            config,
            settings,
            on_event=lambda event: progress(config.name, event),
            fresh=args.fresh,
        )
    print(f"Run {done.run_id} {done.status} after {done.steps} steps; policy: {done.policy}")
    return 0


def _recipe(path: Path) -> int:
    from ekipl_lab.training.sft.config import load_sft_config
    from ekipl_lab.training.sft.run import run_sft

    config = load_sft_config(path)
    with _shown(config.name, config.work_dir / "log.jsonl") as (log, watch):
        folder = run_sft(config, log=log, watch=watch)
    print(f"Policy saved in {folder}")
    return 0


@contextmanager
def _shown(name: str, path: Path) -> Iterator[tuple[Log, Watch]]:
    """What writes the losses to a file, and what shows them and the progress."""
    from ekipl_lab.commands.console import CellProgress
    from ekipl_lab.training.sft.run import log_to

    write = log_to(path)
    with CellProgress([name]) as progress:

        def watch(what: str, done: int, total: int) -> None:
            place = {"phase": what, "step": done, "total": total}
            progress(name, {"event": "progress", **place})

        def log(row: dict[str, float | str]) -> None:
            write(row)
            losses = {key: value for key, value in row.items() if key.endswith("loss")}
            place = {"phase": row["stage"], "step": row["step"]}
            progress(name, {"event": "progress", **place, "metrics": losses})

        yield log, watch


def own_settings(args: argparse.Namespace, raw: dict[str, Any] | None) -> OwnSFT:
    """The settings of a config with ``data:``, or of the options; options come last."""
    from pydantic import ValidationError

    from ekipl_lab.training.sft.own import OwnSFT
    from ekipl_lab.validation import complaint

    values: dict[str, Any] = dict(raw or {})
    if args.data is not None:
        values["data"] = {"benchmark": args.data}
    if args.task is not None and isinstance(values["data"], dict):
        values["data"] = {**values["data"], "task": args.task}
    if args.out is not None:
        values |= {"output": args.out, "name": args.out.name}
    values |= {key: getattr(args, key) for key in OPTIONS if getattr(args, key) is not None}
    if args.answers_only:
        values["chains"] = False
    if "output" not in values:
        raise ConfigError("Name the folder of the policy: --out policies/mine.")
    try:
        return OwnSFT.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
            raise unknown_name("setting of ekipl sft", place, OwnSFT.model_fields) from error
        raise ConfigError(f"ekipl sft: {complaint(first, place)}.") from error


def print_reached(reached: dict[str, Any]) -> None:
    """Greedy accuracy by family beside what needs no picture."""
    from rich.markup import escape
    from rich.table import Table

    from ekipl_lab.tables import piped
    from ekipl_lab.training.sft.own_card import little_left

    table = Table(box=None, title="validation, greedy", title_justify="left")
    for heading in COLUMNS:
        table.add_column(heading)
    for row in reached["rows"]:
        table.add_row(
            escape(row["family"]), str(row["items"]), _short(row["greedy"]),
            f"{_short(row['low'])} to {_short(row['high'])}", _short(row["most_common"]),
            _short(row["prior"]), _short(row["other_pictures"]),
        )  # fmt: skip
    piped().print(table)
    print(
        f"sampled, {reached['sampled_items']} questions: {_short(reached['pass_at_1'])}, pass@8 "
        f"{_short(reached['pass_at_8'])}; solved by some of 8 samples and not by others: "
        f"{_short(reached['mixed'])}"
    )
    print(
        f"of {reached['training_items']} training questions: {_short(reached['mixed_training'])}; "
        "from those GRPO can learn"
    )
    if said := little_left(reached):
        print(said)


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
