"""Run an ActionSource on samples and score what it says.

Example::

    records = evaluate(PolicySource(policy), samples, get_scorer("ekipl/auto"), mode="greedy")
    records += evaluate(source, samples, scorer, mode="sampled", num_samples=32)
    rows = summarize(records, by=("task", "split"))
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Literal

from ekipl_lab.errors import ConfigError, DataError, RewardError
from ekipl_lab.evaluation.cache import EvaluationCache, sample_digest
from ekipl_lab.prompts import prompt_fingerprint
from ekipl_lab.types import (
    MISSING,
    POLICY,
    Action,
    ActionSource,
    EvalRecord,
    GenerationParams,
    RewardBreakdown,
    Sample,
    Scorer,
    StreamingSource,
)

Progress = Callable[[int, int], None]
Mode = Literal["greedy", "sampled"]

#: Rows (samples x actions) asked of the source at once.
ROWS_PER_BATCH = 256

#: The generation settings of the published Reason-RFT evaluation (arXiv 2503.20752).
REASON_RFT_GENERATION = GenerationParams(
    temperature=0.1, top_p=0.9, top_k=50, max_new_tokens=768, seed=0
)


def evaluate(
    source: ActionSource,
    samples: Sequence[Sample],
    scorer: Scorer,
    *,
    mode: Mode = "greedy",
    num_samples: int = 32,
    temperature: float = 1.0,
    max_new_tokens: int = 64,
    seed: int = 0,
    params: GenerationParams | None = None,
    batch_size: int | None = None,
    cache: str | Path | None = None,
    model_key: str = "",
    progress: Progress | None = None,
    allow_missing: bool = False,
    digest: Callable[[Sample], str] = sample_digest,
) -> list[EvalRecord]:
    """One record per sample, in order: one action if greedy, ``num_samples`` if sampled.

    ``params`` replaces temperature, length and seed (for instance by ``REASON_RFT_GENERATION``).
    ``batch_size`` counts samples. With a ``cache`` folder every sample is kept on disk as soon as
    its last action is there, and the same call after an interruption continues and gives the same
    records; ``model_key`` (such as a hash of the weights) says what is evaluated, so that another
    model does not read the cache of this one, and ``digest`` what the source may answer by (for a
    teacher ``cache.told_digest``). ``progress(done, total)`` is called after every batch, and by a
    StreamingSource after every sample.

    ``allow_missing``: a source may give fewer actions than asked (a gateway with ``on_error:
    skip``). Each one that it did not give is an action with finish reason ``missing`` and no score
    (success None, never 0); it is not cached, so that the same call asks for it again.

    Raises DataError for doubled sample ids or a source that gives too few or too many actions, and
    whatever the source and the scorer raise.
    """
    count = 1 if mode == "greedy" else num_samples
    if count < 1:
        raise ConfigError(f"num_samples must be at least 1, not {num_samples}.")
    params = params or _params(mode, temperature, max_new_tokens, seed)
    refuse_doubled(samples)
    store = None
    if cache is not None:
        key = {"source": source.id, "model": model_key, **asdict(params)}
        key |= {"actions per sample": count, "prompts": prompt_fingerprint()}
        store = EvaluationCache(cache, key, digest)

    def show(before: int, done: int) -> None:
        if progress is not None:
            progress(before + done, len(samples))

    records: list[EvalRecord] = []
    size = batch_size or default_batch(count)
    for start in range(0, len(samples), size):
        batch = samples[start : start + size]
        proposed = _propose(
            source, batch, count, params, store, allow_missing, partial(show, start)
        )
        for sample, actions in zip(batch, proposed, strict=True):
            records.append(_record(sample, actions, count, scorer, mode, source.id))
        show(start, len(batch))
    return records


def default_batch(count: int) -> int:
    """Samples asked of a source at once, where each gets ``count`` actions."""
    return max(1, ROWS_PER_BATCH // count)


def refuse_unscored(records: Sequence[EvalRecord]) -> None:
    """Raise RewardError if not one action of an evaluation could be scored."""
    pairs = [(r, reward) for r in records for reward in r.rewards if reward is not _NO_REWARD]
    if pairs and all(reward.success is None for _, reward in pairs):
        first, reward = pairs[0]
        raise RewardError(
            f"None of {len(pairs)} actions could be scored (sample {first.sample_id}: "
            f"{reward.explanation or 'no reason given'}); correct the reward or the data."
        )


def _params(mode: Mode, temperature: float, max_new_tokens: int, seed: int) -> GenerationParams:
    """Greedy, or sampled from the whole distribution at ``temperature``."""
    if mode not in ("greedy", "sampled"):
        raise ConfigError(f"Evaluation mode {mode!r} is unknown; use greedy or sampled.")
    if mode == "sampled" and temperature <= 0:
        raise ConfigError("Sampled evaluation needs a temperature above 0; or use mode greedy.")
    chosen = 0.0 if mode == "greedy" else temperature
    return GenerationParams(temperature=chosen, max_new_tokens=max_new_tokens, seed=seed)


def refuse_doubled(samples: Sequence[Sample]) -> None:
    """Raise DataError if two samples have the same id."""
    for name, times in Counter(sample.id for sample in samples).items():
        if times > 1:
            raise DataError(f"Sample {name} occurs twice; remove one.")


def _propose(
    source: ActionSource,
    batch: Sequence[Sample],
    count: int,
    params: GenerationParams,
    store: EvaluationCache | None,
    allow_missing: bool,
    show: Callable[[int], None],
) -> list[list[Action]]:
    """The actions of a batch, those on disk first; ``show(n)`` as soon as n samples have theirs."""
    kept = {index: store.get(sample) for index, sample in enumerate(batch)} if store else {}
    found = {index: actions for index, actions in kept.items() if actions is not None}

    def keep(index: int, actions: list[Action]) -> None:
        if index not in found:
            found[index] = actions
            if store is not None and len(actions) == count:
                store.put(batch[index], actions)

    def keep_and_show(index: int, actions: list[Action]) -> None:
        keep(index, actions)
        show(len(found))

    wanted = [index for index in range(len(batch)) if index not in found]
    if wanted and isinstance(source, StreamingSource):
        # The whole batch again: in a batch of another shape, numbers round in another way.
        rows = source.propose_streaming(batch, count, params, keep_and_show)
        _check_sizes(source, rows, len(batch), count, allow_missing)
        for index in wanted:
            keep(index, rows[index])
    elif wanted:
        rows = source.propose([batch[index] for index in wanted], count, params)
        _check_sizes(source, rows, len(wanted), count, allow_missing)
        for index, row in zip(wanted, rows, strict=True):
            keep(index, row)
    return [found[index] for index in range(len(batch))]


def _check_sizes(
    source: ActionSource,
    rows: Sequence[Sequence[Action]],
    samples: int,
    count: int,
    allow_missing: bool,
) -> None:
    sizes = [len(row) for row in rows]
    short = allow_missing and len(sizes) == samples and all(size <= count for size in sizes)
    if sizes != [count] * samples and not short:
        raise DataError(
            f"Source {source.id!r} gave {sizes} actions for {samples} samples where {count} "
            "each were asked for."
        )


def _record(
    sample: Sample,
    actions: Sequence[Action],
    count: int,
    scorer: Scorer,
    mode: Mode,
    source_id: str,
) -> EvalRecord:
    """A record of ``count`` actions: a ``missing`` one in the place of each that was not given."""
    missing = count - len(actions)
    gap = Action("", source_id, source_id, finish_reason=MISSING)
    filled = (*actions, *[gap] * missing)
    return EvalRecord(
        sample_id=sample.id,
        task=sample.task,
        split=sample.split,
        family=sample.family,
        difficulty=sample.difficulty,
        model_id=filled[0].model_id if source_id == POLICY else source_id,
        mode=mode,
        actions=filled,
        rewards=(*(scorer(sample, action) for action in actions), *[_NO_REWARD] * missing),
    )


_NO_REWARD = RewardBreakdown(
    {"accuracy": None, "format": None},
    {"accuracy": 1.0, "format": 1.0},
    None,
    explanation="the source gave no action",
)
