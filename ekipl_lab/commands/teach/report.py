"""`ekipl teach report`: are these teachers worth their price, on a sample of the training split?"""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path

from rich.progress import Progress

from ekipl_lab.commands.options import add_config_options, add_payment_option, count, named_path
from ekipl_lab.commands.teach.page import gates, page
from ekipl_lab.commands.teach.precompute import check_costs, run_params
from ekipl_lab.errors import ConfigError
from ekipl_lab.evaluation.chains import check_chains
from ekipl_lab.evaluation.usefulness import MORE_SAMPLES, Usefulness, measure, usefulness
from ekipl_lab.files import check_folder, write_text
from ekipl_lab.tables import as_rich, piped
from ekipl_lab.training.config.run_config import RunConfig, load_config
from ekipl_lab.training.run_data import load_training_samples
from ekipl_lab.training.run_policy import load_run_policy
from ekipl_lab.training.run_teachers import build_run_teachers
from ekipl_lab.types import POLICY, Action, EvalRecord


def add_options(parser: ArgumentParser) -> None:
    """The config, how much is asked, and whether it may cost."""
    add_config_options(parser)
    parser.add_argument("--limit", type=count, default=200, help="samples to measure on")
    parser.add_argument(
        "--samples",
        "--num-samples",
        type=int,
        dest="num_samples",
        default=16,
        help="policy actions per sample",
    )
    parser.add_argument(
        "--out", type=named_path, default=Path("mlruns/teachers.html"), help="HTML file"
    )
    add_payment_option(parser)


def run(args: Namespace) -> int:
    """Measure policy and teachers on a sample of the training split, print and write a page."""
    config = load_config(args.config, args.overrides)
    check_folder(args.out.parent)  # before anything is paid for
    if args.out.is_dir():
        raise ConfigError(f"{args.out} is a folder; give --out a file.")
    console = piped()
    result = report(
        config,
        limit=args.limit,
        num_samples=args.num_samples,
        yes=args.yes,
        say=lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True),
    )
    console.print(*as_rich(gates(result)))
    for row in result.gains:
        if len(row.where) == 1:
            said = f"{row.where[0][1]}, {row.teacher}: {row.reason}"
            console.print(said, highlight=False, markup=False, soft_wrap=True)
    write_text(args.out, page(result, f"Teachers of {config.name}"))
    path = args.out.with_suffix(".gates.json")
    write_text(path, json.dumps(gate_file(result), indent=1) + "\n")
    said = f"Page: {args.out}; for a config: `ekipl: {{teacher_gates: {path}}}`"
    console.print(said, highlight=False, markup=False, soft_wrap=True)
    return 0


def report(
    config: RunConfig,
    *,
    limit: int,
    num_samples: int,
    yes: bool = False,
    say: Callable[[str], None] = print,
) -> Usefulness:
    """The comparison of a config's policy and teachers on its first ``limit`` training samples."""
    from ekipl_lab.policies import PolicySource
    from ekipl_lab.rewards import get_scorer

    if not config.teachers or config.policy.path is None:
        raise ConfigError(f"Run {config.name!r} needs teachers and a policy.path to compare.")
    everything = load_training_samples(config)
    samples = everything[:limit]
    scorer = get_scorer(config.reward.scorer, config.reward.weights)
    params = run_params(config)
    teachers = build_run_teachers(config, everything)
    check_costs(teachers, samples, params, yes=yes, say=say)
    loaded = load_run_policy(config, Path(config.name))
    policy = PolicySource(loaded, id=POLICY)
    asked = [(policy, num_samples), *((teacher.source, teacher.actions) for teacher in teachers)]
    records: dict[str, list[EvalRecord]] = {}
    with Progress(transient=True) as progress:
        for source, actions in asked:
            bar = progress.add_task(source.id, total=len(samples))
            records[source.id] = measure(
                source,
                samples,
                scorer,
                num_actions=actions,
                params=params,
                progress=lambda done, _, bar=bar: progress.update(bar, completed=done),  # type: ignore[misc]
            )
    checks = None
    if config.data.benchmark == "mini":
        from ekipl_lab.benchmarks.mini.chains import check_chain

        checks = check_chains([r for rows in records.values() for r in rows], samples, check_chain)
    tokenizer = loaded.processor.tokenizer

    def length(action: Action) -> int:
        return len(tokenizer(action.completion, add_special_tokens=False).input_ids)

    return usefulness(records.pop(POLICY), records, chains=checks, length=length)


def gate_file(result: Usefulness) -> dict[str, dict[str, str]]:
    """Teacher -> task -> recommended gate, as ``ekipl.teacher_gates`` reads it.

    Where more samples are needed there is no entry: the teacher is asked.
    """
    gates: dict[str, dict[str, str]] = {}
    for row in result.gains:
        if len(row.where) == 1 and row.gate != MORE_SAMPLES:
            gates.setdefault(row.teacher, {})[str(row.where[0][1])] = row.gate
    return gates
