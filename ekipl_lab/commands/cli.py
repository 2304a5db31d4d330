"""``ekipl``: the workbench from a terminal. Every import below the parser is lazy.

Exit codes: 0 done; 1 a check failed; 2 wrong use, with one sentence on standard error; 130
interrupted. Anything else is a defect of ours and keeps its traceback.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ekipl_lab import __version__
from ekipl_lab.commands.eval.options import add_evaluation_options
from ekipl_lab.errors import ConfigError, EKIPLError, printable

Handler = Callable[[argparse.Namespace], int]


def doctor(args: argparse.Namespace) -> int:
    """Check that everything the main job needs is here and works."""
    from ekipl_lab.commands.doctor import examine, print_findings

    return print_findings(examine())


def data_list(args: argparse.Namespace) -> int:
    """Print the benchmarks with their tasks, families and splits."""
    from ekipl_lab.commands.small import list_benchmarks

    list_benchmarks()
    return 0


def data_preview(args: argparse.Namespace) -> int:
    """Write a contact sheet of samples."""
    from ekipl_lab.benchmarks import load_samples
    from ekipl_lab.benchmarks.preview import write_contact_sheet

    samples = load_samples(
        args.benchmark,
        task=args.task,
        split=args.split,
        limit=args.limit,
        families=args.families,
        seed=args.seed,
        image_size=args.size,
    )
    write_contact_sheet(samples, args.out, columns=args.columns)
    print(f"{len(samples)} samples of {args.benchmark}/{args.task}/{args.split}: {args.out}")
    return 0


def data_check(args: argparse.Namespace) -> int:
    """Check data: a folder of Reason-RFT-CoT, or the YAML file of your own data."""
    from ekipl_lab.commands.data_check import check_data

    return check_data(args.path)


def sft(args: argparse.Namespace) -> int:
    """Supervised warm start of a tiny policy."""
    from ekipl_lab.training.sft.config import load_sft_config
    from ekipl_lab.training.sft.run import log_to, run_sft

    config = load_sft_config(args.config)
    folder = run_sft(config, log=log_to(config.work_dir / "log.jsonl"))
    print(f"Policy saved in {folder}")
    return 0


def headroom(args: argparse.Namespace) -> int:
    """Headroom gates of the tiny policies; 1 if one of them fails."""
    from ekipl_lab.evaluation.headroom import measure

    if args.policy and len(args.tasks) != 1:
        raise ConfigError("--policy needs one task; name it with --tasks.")
    folders = {task: args.policy or Path("assets/policies") / task for task in args.tasks}
    held = measure(folders, split=args.split, seed=args.seed, items=args.items, out=args.out)
    return 0 if held else 1


def train(args: argparse.Namespace) -> int:
    """Train one run (GRPO is the same trainer without teachers), or continue it."""
    from ekipl_lab.training.config.run_config import load_config

    config = load_config(args.config, args.overrides)
    if args.dry_run:
        from ekipl_lab.training.config.plan import describe_plan
        from ekipl_lab.training.memory.estimate import describe_memory

        print(describe_plan(config))
        print(describe_memory(config))
        return 0
    from ekipl_lab.training.run import train as run_training

    if args.events:
        stop_with_parent()
        result = run_training(config, on_event=print_event, fresh=args.fresh)
    else:
        from ekipl_lab.commands.console import CellProgress

        name = args.config.stem
        with CellProgress([name]) as progress:
            result = run_training(
                config, on_event=lambda event: progress(name, event), fresh=args.fresh
            )
        from ekipl_lab.commands.small import finished_line

        print(finished_line(config, result))
    return 0


def print_event(event: Mapping[str, Any]) -> None:
    """One event as one JSON line, for the process that started this cell."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def stop_with_parent() -> None:
    """Interrupt this process when its standard input closes: the parent is gone."""

    def watch() -> None:
        sys.stdin.read()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()


def evaluate(args: argparse.Namespace) -> int:
    """Evaluate a checkpoint, adapter, MLflow model, hub model or teacher on any split."""
    from ekipl_lab.commands.eval.command import evaluate_command

    return evaluate_command(args)


def merge(args: argparse.Namespace) -> int:
    """Merge a trained adapter into its base: one ordinary checkpoint folder."""
    from ekipl_lab.commands.small import merge_command

    return merge_command(args)


def compare(args: argparse.Namespace) -> int:
    """Run several configs side by side and report them together."""
    from ekipl_lab.commands.compare import compare_command

    return compare_command(args)


def report(args: argparse.Namespace) -> int:
    """Print a summary of runs and evaluations; write their page, Markdown, LaTeX and CSV."""
    from ekipl_lab.report import report_command

    return report_command(args.runs, args.out)


def teach_preview(args: argparse.Namespace) -> int:
    """Ask the teachers of a config for actions on a few samples, score and print them."""
    from ekipl_lab.commands.teach import teach_preview_command

    return teach_preview_command(args)


def teach_report(args: argparse.Namespace) -> int:
    """Measure whether the teachers of a config are worth their price; write a page."""
    from ekipl_lab.commands.teach import teach_report_command

    return teach_report_command(args)


def teach_precompute(args: argparse.Namespace) -> int:
    """Estimate, then buy all teacher actions of a config's training prompts."""
    from ekipl_lab.commands.teach import teach_precompute_command

    return teach_precompute_command(args)


def teach_record(args: argparse.Namespace) -> int:
    """Write down what a config's teachers say, and a config that repeats it offline."""
    from ekipl_lab.commands.teach import teach_record_command

    return teach_record_command(args)


def app(args: argparse.Namespace) -> int:
    """Serve the Gradio page on 127.0.0.1."""
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise ConfigError("The app needs its extra; install it with `make app`.") from error
    from ekipl_lab.commands.small import require_clone

    root = Path(__file__).resolve().parents[2]
    require_clone(root)
    command = [sys.executable, "-m", "app", "--port", str(args.port)]
    os.chdir(root)
    os.execv(sys.executable, command)


def mlflow(args: argparse.Namespace) -> int:
    """Serve MLflow's own page over this project's store on 127.0.0.1."""
    from ekipl_lab.tracking import serve

    return int(serve(args.port) or 0)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="ekipl",
        description="Vision-EKIPL: does a teacher make your model reason better, and at what cost?",
    )
    parser.add_argument("--version", action="version", version=f"ekipl {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(parent: Any, name: str, handler: Handler) -> argparse.ArgumentParser:
        summary = (handler.__doc__ or "").strip().splitlines()[0]
        sub: argparse.ArgumentParser = parent.add_parser(name, help=summary, description=summary)
        sub.set_defaults(handler=handler, parser=sub)
        return sub

    add(commands, "doctor", doctor)
    data = commands.add_parser("data", help="Look at benchmarks.").add_subparsers(
        required=True, metavar="COMMAND"
    )
    add(data, "list", data_list)
    _sample_options(add(data, "preview", data_preview))
    add(data, "check", data_check).add_argument("path", help="folder or YAML file")
    teach = commands.add_parser("teach", help="Look at teachers.").add_subparsers(
        required=True, metavar="COMMAND"
    )
    preview = _config_options(add(teach, "preview", teach_preview))
    preview.add_argument("--limit", type=int, default=16, help="samples to ask about")
    preview.add_argument("--show", type=int, default=2, help="samples to print in full")
    useful = _config_options(add(teach, "report", teach_report))
    useful.add_argument("--limit", type=int, default=200, help="samples to measure on")
    useful.add_argument(
        "--samples",
        "--num-samples",
        type=int,
        dest="num_samples",
        default=16,
        help="policy actions per sample",
    )
    useful.add_argument("--out", type=Path, default=Path("mlruns/teachers.html"))
    filling = _config_options(add(teach, "precompute", teach_precompute))
    filling.add_argument("--limit", type=int, default=None, help="samples; default: all")
    filling.add_argument("--dry-run", action="store_true", help="print the estimate and stop")
    recording = _config_options(add(teach, "record", teach_record))
    recording.add_argument("--out", type=Path, required=True, help="folder of the recording")
    for command in (preview, useful, filling, recording):
        command.add_argument("--yes", action="store_true", help="pay without a budget in USD")
    add(commands, "sft", sft).add_argument("--config", type=Path, required=True, help="YAML file")
    measuring = add(commands, "headroom", headroom)
    measuring.add_argument("--tasks", nargs="+", default=["counting", "geometry", "transformation"])
    measuring.add_argument("--policy", type=Path, help="a policy's folder (default: the shipped)")
    measuring.add_argument("--split", default="validation")
    measuring.add_argument("--seed", type=int, default=0)
    measuring.add_argument("--items", type=int, default=200, help="items of each family")
    measuring.add_argument("--out", type=Path, help="write the figures as JSON")
    training = _config_options(add(commands, "train", train))
    training.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    training.add_argument("--fresh", action="store_true", help="do not continue; start anew")
    training.add_argument("--events", action="store_true", help="speak in JSON lines")
    add_evaluation_options(add(commands, "eval", evaluate))
    _merge_options(add(commands, "merge", merge))
    _compare_options(add(commands, "compare", compare))
    reporting = add(commands, "report", report)
    reporting.add_argument(
        "runs",
        nargs="*",
        help="run ids and folders of `ekipl eval`; none: the latest finished run of each name",
    )
    reporting.add_argument("--out", type=Path, default=Path("mlruns/report.html"))
    add(commands, "app", app).add_argument("--port", type=int, default=7860)
    add(commands, "mlflow", mlflow).add_argument("--port", type=int, default=5000)
    return parser


def _config_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--config", type=Path, required=True, help="YAML file")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="such as grpo.beta=0.02")
    return parser


def _sample_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--benchmark", default="mini")
    parser.add_argument("--task", default="counting")
    parser.add_argument("--split", default="train")
    parser.add_argument("--families", nargs="+", default=None)
    parser.add_argument("--limit", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=None, help="image size in pixels")
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("preview.png"))


def _merge_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("adapter", type=Path, help="folder of the adapter")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--base", default=None, help="its base, if that is no longer where it was")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default=None)


def _compare_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("configs", nargs="+", type=Path, help="YAML files, one for each arm")
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=[], help="every arm from each of these seeds"
    )
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side")
    parser.add_argument("--threads", type=int, default=1, help="threads of each process")
    parser.add_argument("--fresh", action="store_true", help="do not continue; start anew")
    parser.add_argument("--print-cells", action="store_true", help="print the commands and stop")
    parser.add_argument("--report", type=Path, default=Path("mlruns/report.html"))


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run, and turn errors a user can fix into one sentence and exit code 2."""
    args, unknown = build_parser().parse_known_args(argv)
    if unknown:
        args.parser.error(_unknown_arguments(args.parser, unknown))
    signal.signal(signal.SIGTERM, _terminated)
    try:
        return _handled(args)
    finally:
        if "torch" in sys.modules:
            from ekipl_lab.training.guards import leave_processes

            leave_processes()


def _unknown_arguments(parser: argparse.ArgumentParser, unknown: Sequence[str]) -> str:
    """Name the first argument that the command does not take, and the flag most like it."""
    name = unknown[0].partition("=")[0]
    flags = [flag for action in parser._actions for flag in action.option_strings]
    near = difflib.get_close_matches(name, flags, n=1, cutoff=0.5) if name[:1] == "-" else []
    hint = f"did you mean {near[0]!r}?" if near else f"see `{parser.prog} --help`."
    return f"unknown argument {name!r}; {hint}"


def _handled(args: argparse.Namespace) -> int:
    try:
        return int(args.handler(args))
    except EKIPLError as error:
        print(f"ekipl: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ekipl: interrupted; the same command continues.", file=sys.stderr)
        return 130


def _terminated(*_: object) -> None:
    """SIGTERM does what Ctrl-C does, also where a shell in the background has Ctrl-C ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main())
