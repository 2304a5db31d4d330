"""One evaluation as a job: what to measure, run so that it can be continued, kept in a folder.

::

    job = Job(source="assets/policies/counting", tasks=("counting",), splits=("test", "test_ood"))
    found = run_job(job, folder)          # killed and called again, it goes on where it was

The folder (``ekipl eval --out``): ``evaluation.json`` (settings, origin, hashes, cost),
``records.parquet``, ``control-NAME.parquet``, ``start.parquet``, and ``cache/`` with what has been
generated, sample by sample. ``evaluation.json`` is written last: with it, an evaluation is whole.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ekipl_lab.errors import ConfigError
from ekipl_lab.evaluation.model_source import Loading, ModelSource, open_model_source
from ekipl_lab.evaluation.records import write_records
from ekipl_lab.evaluation.run import REASON_RFT_GENERATION, Mode, Scorer, evaluate
from ekipl_lab.files import write_text
from ekipl_lab.prompts import instructed, prompt_fingerprint
from ekipl_lab.types import MISSING, EvalRecord, GenerationParams, Sample

CONTROLS = ("question_only", "shuffled_image")
#: k of pass@k that are reported where there are enough samples.
KS = (1, 2, 4, 8, 16, 32, 64)
SUMMARY = "evaluation.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Preset:
    """Published settings: how actions are generated, how many, and which scorer judges them."""

    params: GenerationParams
    num_samples: int
    scorer: str


PRESETS = {"reason_rft": Preset(REASON_RFT_GENERATION, 1, "reason_rft/eval")}


@dataclass(frozen=True, slots=True)
class Job:
    """What is measured. ``against`` is the start (a source, as ``source``), for forgetting.

    ``params`` are those of the sampled mode; greedy takes their length and seed. ``seed`` orders
    the data. ``base`` is the base of an adapter; ``instructed`` tells a stock model the form of the
    answer on the built-in benchmark too.
    """

    source: str
    benchmark: str = "mini"
    tasks: tuple[str, ...] = ("counting",)
    splits: tuple[str, ...] = ("test",)
    families: tuple[str, ...] | None = None
    limit: int | None = 256
    seed: int = 0
    image_size: int | None = None
    scorer: str = "ekipl/auto"
    modes: tuple[Mode, ...] = ("greedy", "sampled")
    num_samples: int = 32
    params: GenerationParams = field(default_factory=lambda: GenerationParams(seed=0))
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
    if "sampled" in job.modes:
        if job.num_samples < 1:
            raise ConfigError(f"--samples is {job.num_samples}; it must be at least 1.")
        if job.params.temperature <= 0:
            raise ConfigError("Sampled evaluation needs a temperature above 0; or --mode greedy.")
        too_large = [k for k in job.ks if k > job.num_samples]
        if too_large:
            raise ConfigError(
                f"pass@{too_large[0]} is undefined for {job.num_samples} samples per item; "
                f"draw at least {max(job.ks)} (--samples)."
            )
    if job.params.max_new_tokens < 1:
        raise ConfigError("--max-new-tokens must be at least 1.")
    if any(k < 1 for k in job.ks):
        raise ConfigError("--k must be 1 or more.")
    if not 0 < job.params.top_p <= 1 or job.params.top_k < 0:
        raise ConfigError("--top-p lies above 0 and up to 1, --top-k is 0 (off) or more.")
    if job.source.startswith("teacher:") and "greedy" in job.modes:
        raise ConfigError("A teacher answers with its own temperature; give --mode sampled.")


def load_sets(job: Job) -> dict[str, list[Sample]]:
    """Label -> samples, task by split; the label is the split where there is one task.

    Every ground truth is checked. ConfigError if there is nothing to evaluate.
    """
    from ekipl_lab.benchmarks import load_samples
    from ekipl_lab.rewards import check_ground_truths

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
            sets[split if len(job.tasks) == 1 else f"{task}/{split}"] = samples
    if not any(sets.values()):
        raise ConfigError("There is nothing to evaluate on; --limit must be at least 1.")
    return sets


def job_id(job: Job, origin: ModelSource) -> str:
    """16 hex digits of all that decides what is generated, but the number of samples."""
    settings = {**asdict(job), "limit": None, "controls": (), "against": None, "batch_size": None}
    text = json.dumps([settings, origin.key, prompt_fingerprint()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_job(
    job: Job,
    folder: Path,
    *,
    sets: Mapping[str, Sequence[Sample]],
    origin: ModelSource,
    scorer: Scorer,
    progress: Progress | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Measured:
    """Measure, and keep everything in ``folder``; ``facts`` are further values for the summary.

    ``sets``, ``origin`` and ``scorer`` are those of ``load_sets``, ``open_model_source`` and
    ``get_scorer``.
    """
    check_job(job)
    began = time.perf_counter()
    samples = [sample for chosen in sets.values() for sample in chosen]
    told = [instructed(sample, job.instructed) for sample in samples]
    tell = progress or (lambda name, done, total: None)
    blind = {
        name: [s for part in _parts(told, sets) for s in _control(name, part, job.seed)]
        for name in job.controls
    }
    records = _measure(job, origin, told, scorer, folder / "cache", "", tell)
    controls = {
        name: _measure(
            job, origin, chosen, scorer, folder / "cache" / name, f"{name} ", tell, job.modes[:1]
        )
        for name, chosen in blind.items()
    }
    start: list[EvalRecord] = []
    first: ModelSource | None = None
    if job.against is not None:
        first = open_model_source(job.against, samples, job.loading, scenes=job.benchmark == "mini")
        cache = folder / "cache" / f"start-{first.key}"
        start = _measure(job, first, told, scorer, cache, "start ", tell)
    write_records(folder / "records.parquet", records)
    for name, found in controls.items():
        write_records(folder / f"control-{name}.parquet", found)
    if start:
        write_records(folder / "start.parquet", start)
    seconds = {"seconds": round(time.perf_counter() - began, 1)}  # of this process
    summary = _summary(job, origin, first, sets, records, {**seconds, **(facts or {})})
    write_text(folder / SUMMARY, json.dumps(summary, indent=1, ensure_ascii=False))
    return Measured(records, controls, start, samples, summary)


def _measure(
    job: Job,
    origin: ModelSource,
    samples: Sequence[Sample],
    scorer: Scorer,
    cache: Path,
    label: str,
    tell: Progress,
    modes: Sequence[Mode] = (),
) -> list[EvalRecord]:
    records: list[EvalRecord] = []
    for mode in modes or job.modes:
        params = job.params if mode == "sampled" else replace(job.params, temperature=0.0)
        records += evaluate(
            origin.source,
            samples,
            scorer,
            mode=mode,
            num_samples=job.num_samples,
            params=params,
            batch_size=job.batch_size,
            cache=cache / mode,
            model_key=origin.key,
            progress=lambda done, total, mode=mode: tell(f"{label}{mode}", done, total),  # type: ignore[misc]
            allow_missing=origin.is_teacher,
        )
    return records


def _parts(
    samples: Sequence[Sample], sets: Mapping[str, Sequence[Sample]]
) -> list[Sequence[Sample]]:
    """The samples cut into their sets again, so that no image comes from another set."""
    parts, begin = [], 0
    for chosen in sets.values():
        parts.append(samples[begin : begin + len(chosen)])
        begin += len(chosen)
    return parts


def _control(name: str, samples: Sequence[Sample], seed: int) -> list[Sample]:
    from ekipl_lab.benchmarks.mini.blind import shuffle_images, without_images

    if name == "question_only":
        return without_images(samples)
    if name == "shuffled_image":
        return shuffle_images(samples, seed)
    raise ConfigError(f"Unknown control {name!r}; known: {', '.join(CONTROLS)}.")


def _summary(
    job: Job,
    origin: ModelSource,
    first: ModelSource | None,
    sets: Mapping[str, Sequence[Sample]],
    records: Sequence[EvalRecord],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    from ekipl_lab.evaluation.cache import sample_digest

    data = {
        label: {
            "samples": len(chosen),
            "hash": hashlib.sha256(
                "".join(f"{s.id} {sample_digest(s)} {s.answer}\n" for s in chosen).encode()
            ).hexdigest()[:16],
        }
        for label, chosen in sets.items()
    }
    return {
        "format": FORMAT,
        "id": job_id(job, origin),
        "job": asdict(job) | {"ks": list(job.used_ks)},
        "source": _told_of(origin),
        "start": None if first is None else _told_of(first),
        "data": data,
        "prompts": prompt_fingerprint(),
        "cost": _cost(records),
        **facts,
    }


def _told_of(origin: ModelSource) -> dict[str, Any]:
    return {
        "kind": origin.kind,
        "name": origin.name,
        "key": origin.key,
        "facts": dict(origin.facts),
    }


def _cost(records: Sequence[EvalRecord]) -> dict[str, float]:
    """Actions asked for and given, tokens read and written, USD and seconds as the source tells."""
    actions = [action for record in records for action in record.actions]
    usages = [action.usage for action in actions if action.usage is not None]
    return {
        "actions": len(actions),
        "missing": sum(action.finish_reason == MISSING for action in actions),
        "prompt_tokens": sum(usage.prompt_tokens for usage in usages),
        "completion_tokens": sum(usage.completion_tokens for usage in usages),
        "usd": sum(usage.cost for usage in usages),
    }
