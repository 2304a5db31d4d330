"""`ekipl eval`: the job run with progress, its tables printed, everything kept in one folder."""

from __future__ import annotations

import contextlib
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from ekipl_lab.commands.eval import tables
from ekipl_lab.commands.eval.options import job_of
from ekipl_lab.errors import ConfigError, EKIPLError, MissingData
from ekipl_lab.files import check_folder, write_text
from ekipl_lab.tables import piped
from ekipl_lab.types import Sample

if TYPE_CHECKING:
    from ekipl_lab.evaluation.job import Job, Measured
    from ekipl_lab.evaluation.model_source import ModelSource
    from ekipl_lab.evaluation.summary import Labels


ONE_PREDICTION = "VLMEvalKit reads one prediction per item; add --mode greedy, or --samples 1."


def run(args: Namespace) -> int:
    """Measure, print and keep everything in one folder; the same command continues."""
    from ekipl_lab.evaluation.job import (
        check_job,
        job_id,
        load_sets,
        open_start,
        prompts_of,
        run_job,
    )
    from ekipl_lab.evaluation.model_source import open_model_source
    from ekipl_lab.evaluation.slices import strata_from_file
    from ekipl_lab.rewards import get_scorer
    from ekipl_lab.tracking import store_folder

    job = job_of(args)
    check_job(job)
    if "vlmevalkit" in args.export and "greedy" not in job.modes and job.num_samples > 1:
        raise ConfigError(ONE_PREDICTION)
    if args.out is not None:
        check_folder(args.out)
    if args.strata is not None:
        strata_from_file(args.strata, ())
    scorer = get_scorer(job.scorer)
    sets = load_sets(job)
    samples = [sample for chosen in sets.values() for sample in chosen]
    if args.strata is not None:
        strata_from_file(args.strata, samples)
    model = open_model_source(job.source, samples, job.loading, scenes=job.benchmark == "mini")
    start = open_start(job, samples)
    console = piped()
    prompts, blind = prompts_of(job, sets)
    _check_budget(model, [*prompts, *chain.from_iterable(blind.values())], job, args.yes, console)
    if start is not None:
        _check_budget(start, prompts, job, args.yes, console)
    folder = args.out or store_folder() / "eval" / f"{_plain(model.name)}-{job_id(job, model)}"
    folder.mkdir(parents=True, exist_ok=True)
    with (
        contextlib.ExitStack() as stack,
        Progress(console=Console(stderr=True), transient=True) as progress,
    ):
        for opened in filter(None, (model, start)):
            stack.callback(getattr(opened.source, "close", lambda: None))
        bars: dict[str, Any] = {}

        def show(name: str, done: int, total: int) -> None:
            if name not in bars:
                bars[name] = progress.add_task(name, total=total)
            progress.update(bars[name], completed=done)

        found = run_job(
            job, folder, sets=sets, model=model, scorer=scorer, start=start, progress=show,
            facts=_facts(model, samples),
        )  # fmt: skip
    labels = _labels(found, args.strata)
    rows = tables.all_rows(found, job, labels)
    write_text(folder / "metrics.csv", tables.rows_as_csv(rows))
    for line in tables.heading(found, job):
        console.print(line, markup=False, highlight=False)
    tables.print_tables(console, rows, job)
    tables.print_controls(console, found)
    tables.print_changes(console, found, folder)
    for name in args.export:
        _export(name, folder, found, console)
    for line in tables.warnings(found):
        console.print(f"[bold red]Note:[/] {escape(line)}")
    console.print(f"Everything: {folder}; `ekipl report {folder}` writes its page.", markup=False)
    return 0


def _plain(name: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in name) or "source"


def _check_budget(
    model: ModelSource, samples: Sequence[Sample], job: Job, yes: bool, console: Console
) -> None:
    """Print what a paid teacher may cost; ConfigError without a budget in USD or ``--yes``."""
    from ekipl_lab.commands.teach.precompute import check_budget, describe
    from ekipl_lab.teachers.ensemble import gateways
    from ekipl_lab.teachers.gateway.estimate import estimate

    for gateway, each in gateways(model.source, job.num_samples):
        found = estimate(gateway, samples, each, job.params)
        console.print(describe(gateway, found), markup=False)
        check_budget(gateway, found, yes)


def _facts(model: ModelSource, samples: Sequence[Sample]) -> dict[str, Any]:
    """Revision, packages, and for a model of a run: has its training seen these samples?"""
    from ekipl_lab.evaluation.contamination import contamination
    from ekipl_lab.tracking import provenance

    tags = provenance.git_tags()
    facts: dict[str, Any] = {
        "revision": tags.get("ekipl.git_revision"),
        "dirty": tags.get("ekipl.git_dirty"),
        "environment": provenance.environment(),
    }
    run = model.facts.get("run")
    train = _training_samples(run) if run else None
    if train is not None:
        overlap = contamination(train, samples)
        facts["contamination"] = {
            "train": f"the {len(train)} training samples of run {run}",
            "overlap": None if overlap is None else asdict(overlap),
        }
    return facts


def _training_samples(run_id: str) -> list[Sample] | None:
    """What a run trained on, rebuilt from its config; None where that is not possible."""
    from ekipl_lab import tracking
    from ekipl_lab.benchmarks import load_samples
    from ekipl_lab.training.config.sections import DataSettings

    try:
        config = tracking.read_config(run_id)
    except MissingData:
        return None
    try:
        data = DataSettings.model_validate(config.get("data", {}))
        # `instructed` is about the text around a question, which is not compared.
        options = data.model_dump(exclude={"benchmark", "instructed", "on_bad_record"})
        return load_samples(data.benchmark, **options)
    except (EKIPLError, ValueError):
        return None


def _labels(found: Measured, strata: Path | None) -> Labels:
    from ekipl_lab.evaluation.slices import strata_from_file, strata_of

    if strata is not None:
        return {"stratum": strata_from_file(strata, found.records)}
    return {"stratum": strata_of(found.start)} if found.start else {}


def _export(name: str, folder: Path, found: Measured, console: Console) -> None:
    from ekipl_lab.evaluation.exporting import export_lmms_eval, export_vlmevalkit

    if name == "lmms-eval":
        path = folder / "samples_lmms_eval.jsonl"
        count = export_lmms_eval(path, found.records, found.samples)
    else:
        single = [record for record in found.records if len(record.actions) == 1]
        if not single:
            raise ConfigError(ONE_PREDICTION)
        path = folder / "vlmevalkit.tsv"
        count = export_vlmevalkit(path, tables.of_mode(single, single[0].mode), found.samples)
    console.print(f"{count} records for {name}: {path}", markup=False)
