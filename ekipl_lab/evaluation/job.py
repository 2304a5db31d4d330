"""One evaluation as a job: what to measure, run so that it can be continued, kept in a folder.

::

    job = Job(source="assets/policies/counting", splits=("test", "test_ood"))
    model, scorer = open_model_source(job.source), get_scorer(job.scorer)
    found = run_job(job, folder, sets=load_sets(job), model=model, scorer=scorer)

Killed and called again, it goes on where it was.

The folder (``ekipl eval --out``): ``evaluation.json`` (settings, source, hashes, cost),
``records.parquet``, ``control-NAME.parquet``, ``start.parquet``, and ``cache/`` with what has been
generated, sample by sample. ``evaluation.json`` is written last: with it, an evaluation is whole.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from ekipl_lab.benchmarks.image_files import MAX_PIXELS, with_pixels
from ekipl_lab.errors import ConfigError
from ekipl_lab.evaluation.cache import sample_digest, told_digest
from ekipl_lab.evaluation.folder import FORMAT, SUMMARY
from ekipl_lab.evaluation.model_source import TEACHER, Loading, ModelSource, open_model_source
from ekipl_lab.evaluation.records import write_records
from ekipl_lab.evaluation.run import REASON_RFT_GENERATION, Mode, evaluate, refuse_unscored
from ekipl_lab.files import write_note
from ekipl_lab.prompts import instructed, prompt_fingerprint
from ekipl_lab.rewards.own import code_of
from ekipl_lab.types import MISSING, EvalRecord, GenerationParams, Sample, Scorer
from ekipl_lab.validation import LEAST_TEMPERATURE, MOST_TEMPERATURE

CONTROLS = ("question_only", "shuffled_image")
#: k of pass@k that are reported where there are enough samples.
KS = (1, 2, 4, 8, 16, 32, 64)
#: How actions are sampled, with room for the longest chains of the built-in benchmark.
PARAMS = GenerationParams(max_new_tokens=128, seed=0)


#: Published settings, as fields of a job: how actions are generated, how many, who judges them.
PRESETS: dict[str, dict[str, Any]] = {
    "reason_rft": {
        "params": REASON_RFT_GENERATION,
        "modes": ("sampled",),
        "num_samples": 1,
        "scorer": "reason_rft/eval",
    }
}


@dataclass(frozen=True, slots=True)
class Job:
    """What is measured. ``against`` is the start (a source, as ``source``), for forgetting.

    ``params`` are those of the sampled mode; greedy takes their length and seed. ``seed`` orders
    the data. Images are bounded by ``image_size`` (the long side) and, as a run's by its policy's
    settings, by ``min_pixels`` and ``max_pixels``. ``instructed`` gives a stock model the form of
    the answer on the built-in benchmark too.
    """

    source: str
    benchmark: str = "mini"
    tasks: tuple[str, ...] = ("counting",)
    splits: tuple[str, ...] = ("test",)
    families: tuple[str, ...] | None = None
    limit: int | None = 256
    seed: int = 0
    image_size: int | None = None
    min_pixels: int | None = None
    max_pixels: int | None = None
    scorer: str = "ekipl/auto"
    modes: tuple[Mode, ...] = ("greedy", "sampled")
    num_samples: int = 32
    params: GenerationParams = PARAMS
    ks: tuple[int, ...] = ()
    controls: tuple[str, ...] = ()
    against: str | None = None
    instructed: bool = False
    loading: Loading = field(default_factory=Loading)
    batch_size: int | None = None

    @property
    def used_ks(self) -> tuple[int, ...]:
        """The k of pass@k: those asked for, else all of ``KS`` that the samples allow."""
        return self.ks or tuple(k for k in KS if k <= self.num_samples)


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that a job gave; ``summary`` is what ``evaluation.json`` holds."""

    records: list[EvalRecord]
    controls: dict[str, list[EvalRecord]]
    start: list[EvalRecord]
    samples: list[Sample]
    summary: dict[str, Any]


#: Called with (what is being measured, samples done, samples in all).
Progress = Callable[[str, int, int], None]


def check_job(job: Job) -> None:
    """Raise ConfigError for settings that make no sense together, before anything is loaded."""
    if not job.modes:
        raise ConfigError("Give a mode: greedy, sampled or both.")
    if not 0 <= job.seed < 2**32:
        raise ConfigError(f"--seed is {job.seed}; it must be from 0 to 2^32 - 1.")
    if job.batch_size is not None and job.batch_size < 1:
        raise ConfigError(f"--batch-size is {job.batch_size}; it must be at least 1.")
    if job.num_samples < 0:
        raise ConfigError(f"--samples is {job.num_samples}; it must be 0 (greedy only) or more.")
    if "sampled" in job.modes:
        if job.num_samples < 1:
            raise ConfigError(f"--samples is {job.num_samples}; it must be at least 1.")
        if not LEAST_TEMPERATURE <= job.params.temperature <= MOST_TEMPERATURE:
            raise ConfigError(
                "Sampled evaluation needs a finite temperature above 0 (from "
                f"{LEAST_TEMPERATURE} to {MOST_TEMPERATURE:g}); or --mode greedy."
            )
        too_large = [k for k in job.ks if k > job.num_samples]
        if too_large:
            raise ConfigError(
                f"pass@{too_large[0]} is undefined for {job.num_samples} samples per item; "
                f"draw at least {max(job.ks)} (--samples)."
            )
    bounds = (job.min_pixels, job.max_pixels, job.image_size)
    if any(bound is not None and bound < 1 for bound in bounds):
        raise ConfigError("--size, --min-pixels and --max-pixels must be at least 1.")
    if (job.min_pixels or 0) > (job.max_pixels or MAX_PIXELS):
        raise ConfigError("--min-pixels is above --max-pixels; lower it.")
    if job.params.max_new_tokens < 1:
        raise ConfigError("--max-new-tokens must be at least 1.")
    if any(k < 1 for k in job.ks):
        raise ConfigError("--k must be 1 or more.")
    if not 0 < job.params.top_p <= 1 or job.params.top_k < 0:
        raise ConfigError("--top-p lies above 0 and up to 1, --top-k is 0 (off) or more.")
    sources = (job.source, job.against or "")
    if "greedy" in job.modes and any(source.startswith(TEACHER) for source in sources):
        raise ConfigError("A teacher answers with its own temperature; give --mode sampled.")


def load_sets(job: Job) -> dict[str, list[Sample]]:
    """Label -> samples, task by split; the label is the split where there is one task.

    Every ground truth is checked. ConfigError if there is nothing to evaluate.
    """
    from ekipl_lab.benchmarks import load_samples
    from ekipl_lab.rewards import check_ground_truths, check_scorer

    sets = {}
    for task in job.tasks:
        for split in job.splits:
            samples = load_samples(
                job.benchmark,
                task=task,
                split=split,
                limit=job.limit,
                families=job.families,
                seed=job.seed,
                image_size=job.image_size,
            )
            check_ground_truths(samples)
            check_scorer(job.scorer, samples)
            samples = [with_pixels(sample, job.min_pixels, job.max_pixels) for sample in samples]
            sets[split if len(job.tasks) == 1 else f"{task}/{split}"] = samples
    if not any(sets.values()):
        raise ConfigError("There is nothing to evaluate on; --limit must be at least 1.")
    return sets


def job_id(job: Job, model: ModelSource) -> str:
    """16 hex digits of all that decides what is generated, but the number of samples."""
    settings = {**asdict(job), "limit": None, "controls": (), "against": None, "batch_size": None}
    for bound in ("min_pixels", "max_pixels"):  # ids from before there were any stay as they are
        if settings[bound] is None:
            del settings[bound]
    return _short_hash(json.dumps([settings, model.key, prompt_fingerprint()], sort_keys=True))


def run_job(
    job: Job,
    folder: Path,
    *,
    sets: Mapping[str, Sequence[Sample]],
    model: ModelSource,
    scorer: Scorer,
    start: ModelSource | None = None,
    progress: Progress | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Measured:
    """Measure, and keep everything in ``folder``; ``facts`` are further values for the summary.

    ``sets``, ``model``, ``start`` and ``scorer`` are those of ``load_sets``, ``open_model_source``,
    ``open_start`` and ``get_scorer``; a start that is not given is opened here.
    """
    check_job(job)
    began = time.perf_counter()
    samples = [sample for chosen in sets.values() for sample in chosen]
    prompts, blind = prompts_of(job, sets)
    measure = partial(_measure, job, scorer, progress)
    first = start or open_start(job, samples)  # before hours of measuring, not after them
    cache = folder / "cache"
    records = measure(model, prompts, cache, "", job.modes)
    refuse_unscored(records)
    controls = {
        name: measure(model, chosen, cache / name, f"{name} ", job.modes[:1])
        for name, chosen in blind.items()
    }
    starts: list[EvalRecord] = []
    if first is not None:
        starts = measure(first, prompts, cache / f"start-{first.key}", "start ", job.modes)
    write_records(folder / "records.parquet", records)
    for name, found in controls.items():
        write_records(folder / f"control-{name}.parquet", found)
    if starts:
        write_records(folder / "start.parquet", starts)
    _remove_others(folder, controls, bool(starts))
    seconds = round(time.perf_counter() - began, 1)  # of this process
    summary = {
        "format": FORMAT,
        "id": job_id(job, model),
        "job": asdict(job) | {"ks": list(job.used_ks)},
        "source": _about(model),
        "start": None if first is None else _about(first),
        "data": {
            label: {"samples": len(chosen), "hash": data_digest(chosen)}
            for label, chosen in sets.items()
        },
        "prompts": prompt_fingerprint(),
        "scorer_code": code_of(job.scorer),
        "cost": _cost(records),
        "seconds": seconds,
        **(facts or {}),
    }
    write_note(folder / SUMMARY, summary)
    return Measured(records, controls, starts, samples, summary)


def prompts_of(
    job: Job, sets: Mapping[str, Sequence[Sample]]
) -> tuple[list[Sample], dict[str, list[Sample]]]:
    """The samples as they are asked, and those of each blind control."""
    prompted = [[instructed(s, job.instructed) for s in chosen] for chosen in sets.values()]
    blind = {  # set by set, so that no image comes from another set
        name: [s for chosen in prompted for s in _control(name, chosen, job.seed)]
        for name in job.controls
    }
    return list(chain.from_iterable(prompted)), blind


def open_start(job: Job, samples: Sequence[Sample]) -> ModelSource | None:
    """The source that the job compares with; None if it names none."""
    if job.against is None:
        return None
    return open_model_source(job.against, samples, job.loading, scenes=job.benchmark == "mini")


def _remove_others(folder: Path, controls: Mapping[str, Any], start: bool) -> None:
    """Remove what an earlier evaluation in this folder had and this one has not: a page of it
    would show both as one. What was generated stays in the cache."""
    stale = {folder / f"control-{name}.parquet" for name in CONTROLS if name not in controls}
    if not start:
        stale |= {folder / "start.parquet", folder / "since_start.csv"}
    for path in stale:
        path.unlink(missing_ok=True)


def _measure(
    job: Job,
    scorer: Scorer,
    progress: Progress | None,
    model: ModelSource,
    samples: Sequence[Sample],
    cache: Path,
    label: str,
    modes: Sequence[Mode],
) -> list[EvalRecord]:
    records: list[EvalRecord] = []
    for mode in modes:
        records += evaluate(
            model.source,
            samples,
            scorer,
            mode=mode,
            num_samples=job.num_samples,
            params=job.params if mode == "sampled" else replace(job.params, temperature=0.0),
            batch_size=job.batch_size,
            cache=cache / mode,
            model_key=model.key,
            progress=None if progress is None else partial(progress, f"{label}{mode}"),
            allow_missing=model.is_teacher,
            digest=told_digest if model.is_teacher else sample_digest,
        )
    return records


def _control(name: str, samples: Sequence[Sample], seed: int) -> list[Sample]:
    from ekipl_lab.benchmarks.mini.blind import shuffle_images, without_images

    if name == "question_only":
        return without_images(samples)
    if name == "shuffled_image":
        return shuffle_images(samples, seed)
    raise ConfigError(f"Unknown control {name!r}; known: {', '.join(CONTROLS)}.")


def _about(model: ModelSource) -> dict[str, Any]:
    return {"kind": model.kind, "name": model.name, "key": model.key, "facts": dict(model.facts)}


def data_digest(samples: Sequence[Sample]) -> str:
    """16 hex digits over ids, what a model is shown, pixels too, and answers, in order."""
    lines = [f"{sample.id} {sample_digest(sample)} {sample.answer}\n" for sample in samples]
    return _short_hash("".join(lines))


def _cost(records: Sequence[EvalRecord]) -> dict[str, float | None]:
    """Actions asked for and not given, tokens read and written, USD as the source reports them.

    Tokens read are None where a server has not counted those of an action.
    """
    actions = [action for record in records for action in record.actions]
    usages = [action.usage for action in actions if action.usage is not None]
    read = [usage.prompt_tokens for usage in usages]
    return {
        "actions": len(actions),
        "missing": sum(action.finish_reason == MISSING for action in actions),
        "prompt_tokens": None if None in read else sum(filter(None, read)),
        "completion_tokens": sum(usage.completion_tokens for usage in usages),
        "usd": sum(usage.cost for usage in usages),
    }


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
