"""``ekipl``: the workbench from a terminal.

Each command is a module with ``run(args)`` and, if it has options, ``add_options(parser)``; it is
imported when the command is chosen, so that ``ekipl --help`` loads nothing.

Exit codes: 0 done; 1 a check failed; 2 wrong use or a full disk, with one sentence on standard
error; 130 interrupted; 141 the reader of a pipe left. Anything else is a defect of ours and keeps
its traceback.
"""

from __future__ import annotations

import argparse
import difflib
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from ekipl_lab import __version__
from ekipl_lab.errors import EKIPLError, full_disk, printable

#: Command -> what it does, in the order of ``ekipl --help``. "data list" is data/list.py.
COMMANDS = {
    "doctor": "Check that everything the main job needs is here and works.",
    "data list": "Print the benchmarks with their tasks, families and splits.",
    "data preview": "Write a contact sheet of samples.",
    "data check": "Check data: a folder of Reason-RFT-CoT, or the YAML file of your own data.",
    "teach preview": "Ask the teachers of a config for actions on a few samples, score and print "
    "them.",
    "teach report": "Measure whether the teachers of a config are worth their price; write a page.",
    "teach precompute": "Estimate, then buy all teacher actions of a config's training prompts.",
    "teach record": "Write down what a config's teachers say, and a config that repeats it "
    "offline.",
    "sft": "Supervised warm start of a tiny policy.",
    "headroom": "Headroom gates of the tiny policies; 1 if one of them fails.",
    "train": "Train one run (GRPO is the same trainer without teachers), or continue it.",
    "eval": "Evaluate a checkpoint, adapter, MLflow model, hub model or teacher on any split.",
    "merge": "Merge a trained adapter into its base: one ordinary checkpoint folder.",
    "compare": "Run several configs side by side and report them together.",
    "report": "Print a summary of runs and evaluations; write their page, Markdown, LaTeX and CSV.",
    "runs list": "Print the runs of this project's store, newest first.",
    "runs show": "Print what a run is: settings, last metrics, checkpoints, files.",
    "runs export": "Write a run with its metrics, files and checkpoints as one file.",
    "runs import": "Take a run from such a file into this store.",
    "runs repair": "Mark runs as killed whose process ended without a word.",
    "app": "Serve the Gradio page on 127.0.0.1.",
    "mlflow": "Serve MLflow's own page over this project's store on 127.0.0.1.",
}
FAMILIES = {
    "data": "Look at benchmarks.",
    "teach": "Look at teachers.",
    "runs": "Look at runs, move them to another store.",
}


class _Command(argparse.ArgumentParser):
    """The parser of one command; ``module`` adds its options when the command is chosen."""

    module = ""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self.module:
            command = import_module(self.module)
            if hasattr(command, "add_options"):
                command.add_options(self)
            self.set_defaults(run=command.run, parser=self)
        return super().parse_known_args(args, namespace)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="ekipl",
        description="Vision-EKIPL: does a teacher make your model reason better, and at what cost?",
    )
    parser.add_argument("--version", action="version", version=f"ekipl {__version__}")
    wanted: dict[str, Any] = {"required": True, "metavar": "COMMAND", "parser_class": _Command}
    commands = parser.add_subparsers(**wanted)
    families: dict[str, Any] = {}
    for name, summary in COMMANDS.items():
        family, _, word = name.rpartition(" ")
        if family and family not in families:
            families[family] = commands.add_parser(family, help=FAMILIES[family]).add_subparsers(
                **wanted
            )
        parent = families.get(family, commands)
        command = parent.add_parser(word, help=summary, description=summary)
        command.module = "ekipl_lab.commands." + name.replace(" ", ".")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run, and turn errors a user can fix into one sentence and exit code 2."""
    args, unknown = build_parser().parse_known_args(argv)
    if unknown:
        args.parser.error(_unknown_arguments(args.parser, unknown))
    signal.signal(signal.SIGTERM, _terminated)
    try:
        code = int(args.run(args))
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `| head` has read enough: nothing is wrong, and nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        own = str(error) if isinstance(error, EKIPLError) else unwritable(error, args)
        sentence = full_disk(error) or own
        if sentence is None:
            raise
        print(f"ekipl: {printable(sentence)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ekipl: interrupted; the same command continues.", file=sys.stderr)
        return 130
    finally:
        if "torch" in sys.modules:
            from ekipl_lab.training.guards import leave_processes

            leave_processes()


def unwritable(error: Exception, args: argparse.Namespace) -> str | None:
    """One sentence if what ``--out`` names could not be written; else None."""
    out, at = getattr(args, "out", None), getattr(error, "filename", None)
    if not isinstance(error, OSError) or not isinstance(out, Path) or at is None:
        return None
    wanted, failed = str(out.absolute()), str(Path(os.fsdecode(at)).absolute())
    if not failed.startswith(wanted) and not wanted.startswith(failed):
        return None
    return f"{out} cannot be written ({error.strerror}); give another --out."


def _unknown_arguments(parser: argparse.ArgumentParser, unknown: Sequence[str]) -> str:
    """Name the first argument that the command does not take, and the flag most like it."""
    name = unknown[0].partition("=")[0]
    flags = [flag for action in parser._actions for flag in action.option_strings]
    near = difflib.get_close_matches(name, flags, n=1, cutoff=0.5) if name[:1] == "-" else []
    hint = f"did you mean {near[0]!r}?" if near else f"see `{parser.prog} --help`."
    return f"unknown argument {name!r}; {hint}"


def _terminated(*_: object) -> None:
    """SIGTERM does what Ctrl-C does, also where a shell in the background has Ctrl-C ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main())
