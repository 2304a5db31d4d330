"""The options of `ekipl eval`, and the job they describe."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from ekipl_lab.commands.options import named_path
from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.types import GenerationParams

if TYPE_CHECKING:
    from ekipl_lab.evaluation.job import Job


def add_options(parser: argparse.ArgumentParser) -> None:
    """All options of the command; most are called as the fields of `Job` that they set."""
    add = parser.add_argument
    add("source", nargs="?", help="checkpoint or adapter folder, mlflow:RUN[@STEP|@best:METRIC], "
        "models:/ID, hub id[@revision], teacher:FILE.yaml#ID")  # fmt: skip
    add("--policy", help="the same, as an option")
    add("--benchmark", default="mini", help="name, YAML file of your own data, or folder of the "
        "published layout")  # fmt: skip
    add("--task", nargs="+", dest="tasks", help="default: the task that a run was trained on; "
        "for other sources counting (mini), else all tasks")  # fmt: skip
    add("--split", nargs="+", dest="splits", help="default: test")
    add("--families", nargs="+")
    add("--limit", type=int, help="samples of each task and split; default 256; 0: all")
    add("--seed", type=int, help="default 0")
    add("--size", type=int, dest="image_size", help="image size in pixels; default: as the "
        "run was trained")  # fmt: skip
    add("--min-pixels", type=int, help="enlarge smaller images; default: policy.min_pixels of the "
        "run")  # fmt: skip
    add("--max-pixels", type=int, help="shrink larger images; default: policy.max_pixels of the "
        "run")  # fmt: skip
    add("--preset", help="published settings: reason_rft (temperature 0.1, top-p 0.9, top-k 50, "
        "768 tokens, one sample, its evaluator); options that are given replace them")  # fmt: skip
    add("--scorer", help="default: ekipl/auto")
    add("--mode", nargs="+", dest="modes", choices=("greedy", "sampled"), help="default: both")
    add("--samples", "--num-samples", dest="num_samples", type=int,
        help="actions per item for pass@k; default 32; 0: greedy only")  # fmt: skip
    add("--k", nargs="+", dest="ks", type=int, help="default: 1 to 64 as samples allow")
    add("--temperature", type=float)
    add("--top-p", type=float)
    add("--top-k", type=int)
    add("--max-new-tokens", type=int, help="default 128")
    add("--controls", nargs="*", choices=("question_only", "shuffled_image"),
        help="blind controls; without a name: both")  # fmt: skip
    add("--against", help="the start, as SOURCE: what was forgotten since")
    add("--strata", type=named_path, help="JSON with strata of families; default with "
        "--against: by the start's success")  # fmt: skip
    add("--instructed", action=argparse.BooleanOptionalAction, default=None,
        help="give a stock model the conventions and the form of the answer; default: as the run "
        "was trained, else not")  # fmt: skip
    add("--base", help="base model of an adapter")
    add("--dtype", help="default: float32")
    add("--device", help="default: cuda where there is one, else cpu")
    add("--batch-size", type=int, help="samples at a time")
    add("--export", nargs="+", choices=("lmms-eval", "vlmevalkit"), default=[])
    add("--yes", action="store_true", help="pay a teacher without a budget in USD")
    add("--out", type=named_path, help="folder; default: one of its own in mlruns/eval")


def job_of(args: argparse.Namespace) -> Job:
    """The job that the options describe; ConfigError for options that contradict each other."""
    from ekipl_lab.benchmarks import find_benchmark
    from ekipl_lab.evaluation.job import CONTROLS, PARAMS, PRESETS, Job
    from ekipl_lab.evaluation.model_source import Loading, trained_on

    if (args.source is None) == (args.policy is None):
        raise ConfigError("Name what to evaluate once: a folder, mlflow:RUN, a hub id, a teacher.")
    if args.preset is not None and args.preset not in PRESETS:
        raise unknown_name("preset", args.preset, PRESETS)
    source = args.source or args.policy
    tasks = find_benchmark(args.benchmark).tasks
    trained = trained_on(source, args.benchmark)
    values = PRESETS.get(args.preset, {}) | _given(args, Job) | {"source": source}
    values["params"] = replace(values.get("params", PARAMS), **_given(args, GenerationParams))
    values["loading"] = Loading(**_given(args, Loading))
    if "modes" not in values and source.startswith("teacher:"):
        values["modes"] = ("sampled",)
    if args.modes is None and values.get("num_samples", 1) < 1:
        values["modes"] = ("greedy",)
    if args.tasks is None:
        values["tasks"] = _tasks(trained, args.benchmark, tasks)
    if args.instructed is None:
        values["instructed"] = trained.get("instructed", False)
    for bound in ("image_size", "min_pixels", "max_pixels"):  # pictures as in its training
        if getattr(args, bound) is None:
            values[bound] = trained.get(bound)
    if args.limit == 0:
        values["limit"] = None
    if args.controls == []:
        values["controls"] = CONTROLS
    if args.ks is not None:
        values["ks"] = tuple(sorted(values["ks"]))
    if values.get("modes") == ("greedy",):
        _refuse_of_sampling(args)
    return Job(**values)


def _refuse_of_sampling(args: argparse.Namespace) -> None:
    """ConfigError for options that a greedy evaluation would not read."""
    names = {"ks": "--k", "temperature": "--temperature", "top_p": "--top-p", "top_k": "--top-k"}
    for field, option in names.items():
        if getattr(args, field) is not None:
            raise ConfigError(
                f"{option} is about sampling, and only greedy answers are asked for; leave it out, "
                "or give --mode sampled and --samples of at least 1."
            )


def _given(args: argparse.Namespace, kind: type) -> dict[str, Any]:
    """The given options that are fields of a dataclass; lists as tuples, each value once."""
    values = {field.name: getattr(args, field.name, None) for field in fields(kind)}
    return {
        name: tuple(dict.fromkeys(value)) if isinstance(value, list) else value
        for name, value in values.items()
        if value is not None
    }


def _tasks(trained: Mapping[str, Any], benchmark: str, known: Sequence[str]) -> tuple[str, ...]:
    """The tasks where none are named; a guess is printed."""
    if trained.get("task"):
        return (trained["task"],)
    if benchmark != "mini":
        return tuple(known)
    print(f"No --task is given: counting. Others are {', '.join(known[1:])}.", flush=True)
    return ("counting",)
