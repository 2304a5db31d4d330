"""The options of `ekipl eval`, and the job they describe."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.types import GenerationParams

if TYPE_CHECKING:
    from ekipl_lab.evaluation.job import Job


#: Room for the longest reference chains of the built-in benchmark.
MAX_NEW_TOKENS = 128


def add_options(parser: argparse.ArgumentParser) -> None:
    """All options of the command."""
    add = parser.add_argument
    add("source", nargs="?", help="checkpoint or adapter folder, mlflow:RUN[@STEP|@best:METRIC], "
        "models:/ID, hub id[@revision], teacher:FILE.yaml#ID")  # fmt: skip
    add("--policy", help="the same, as an option")
    add("--benchmark", default="mini", help="name, YAML file of your own data, or folder of the "
        "published layout")  # fmt: skip
    add("--task", nargs="+", default=None, help="default: the task that a run was trained on; "
        "for other sources counting (mini), else all tasks")  # fmt: skip
    add("--split", nargs="+", default=["test"])
    add("--families", nargs="+", default=None)
    add("--limit", type=int, default=256, help="samples of each task and split; 0: all")
    add("--seed", type=int, default=0)
    add("--size", type=int, default=None, help="image size in pixels")
    add("--preset", help="published settings: reason_rft (temperature 0.1, top-p 0.9, top-k 50, "
        "768 tokens, one sample, its evaluator); options that are given replace them")  # fmt: skip
    add("--scorer", default=None, help="default: ekipl/auto")
    add("--mode", nargs="+", choices=("greedy", "sampled"), default=None, help="default: both")
    add("--samples", "--num-samples", dest="num_samples", type=int, default=None,
        help="actions per item for pass@k; default 32; 0: greedy only")  # fmt: skip
    add("--k", nargs="+", type=int, default=None, help="default: 1 to 64 as samples allow")
    add("--temperature", type=float, default=None)
    add("--top-p", type=float, default=None)
    add("--top-k", type=int, default=None)
    add("--max-new-tokens", type=int, default=None, help=f"default {MAX_NEW_TOKENS}")
    add("--controls", nargs="*", choices=("question_only", "shuffled_image"), default=None,
        help="blind controls; without a name: both")  # fmt: skip
    add("--against", default=None, help="the start, as SOURCE: what was forgotten since")
    add("--strata", type=Path, default=None, help="JSON with strata of families; default with "
        "--against: by the start's success")  # fmt: skip
    add("--instructed", action=argparse.BooleanOptionalAction, default=None,
        help="tell a stock model the conventions and the form of the answer; default: as the run "
        "was trained, else not")  # fmt: skip
    add("--base", default=None, help="base model of an adapter")
    add("--dtype", default="float32")
    add("--device", default="cpu")
    add("--batch-size", type=int, default=None, help="samples at a time")
    add("--export", nargs="+", choices=("lmms-eval", "vlmevalkit"), default=[])
    add("--yes", action="store_true", help="pay a teacher without a budget in USD")
    add("--out", type=Path, default=None, help="folder; default: one of its own in mlruns/eval")


def job_of(args: argparse.Namespace) -> Job:
    """The job that the options describe; ConfigError for options that contradict each other."""
    from ekipl_lab.benchmarks import find_benchmark
    from ekipl_lab.evaluation.job import CONTROLS, PRESETS, Job
    from ekipl_lab.evaluation.model_source import Loading, trained_on

    if (args.source is None) == (args.policy is None):
        raise ConfigError("Name what to evaluate once: a folder, mlflow:RUN, a hub id, a teacher.")
    if args.preset is not None and args.preset not in PRESETS:
        raise unknown_name("preset", args.preset, PRESETS)
    preset = PRESETS.get(args.preset or "")
    source = args.source or args.policy
    known = find_benchmark(args.benchmark).tasks
    trained = trained_on(source, args.benchmark)
    tasks = args.task or _tasks(trained, args.benchmark, known)
    count = _first(args.num_samples, preset.num_samples if preset else None, 32)
    base = preset.params if preset else GenerationParams(max_new_tokens=MAX_NEW_TOKENS)
    given = {
        "temperature": args.temperature,
        "top_p": args.top_p,
        "top_k": args.top_k,
        "max_new_tokens": args.max_new_tokens,
        "seed": args.seed,
    }
    params = replace(base, **{name: value for name, value in given.items() if value is not None})
    only_sampled = preset is not None or source.startswith("teacher:")
    modes = args.mode or (["sampled"] if only_sampled else ["greedy", "sampled"])
    if count < 1 and args.mode is None:
        modes = ["greedy"]
    return Job(
        source=source,
        benchmark=args.benchmark,
        tasks=tuple(dict.fromkeys(tasks)),
        splits=tuple(dict.fromkeys(args.split)),
        families=None if args.families is None else tuple(args.families),
        limit=None if args.limit == 0 else args.limit,
        seed=args.seed,
        image_size=args.size,
        scorer=args.scorer or (preset.scorer if preset else "ekipl/auto"),
        modes=tuple(dict.fromkeys(modes)),
        num_samples=count,
        params=params,
        ks=tuple(sorted(set(args.k or ()))),
        controls=CONTROLS if args.controls == [] else tuple(args.controls or ()),
        against=args.against,
        instructed=_first(args.instructed, trained.get("instructed"), False),
        loading=Loading(dtype=args.dtype, device=args.device, base=args.base),
        batch_size=args.batch_size,
    )


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def _tasks(trained: Mapping[str, Any], benchmark: str, known: Sequence[str]) -> Sequence[str]:
    """The tasks where none are named; a guess is said."""
    if trained.get("task"):
        return (trained["task"],)
    if benchmark != "mini":
        return known
    print(f"No --task is given: counting. Others are {', '.join(known[1:])}.", flush=True)
    return ("counting",)
