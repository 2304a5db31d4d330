"""From a YAML file of own data to a policy that sees them: load, plan, train, measure, save.

Beside the weights the folder gets ``reached.json``, a model card (README.md), and ``grpo.yaml``,
with which `ekipl train` goes on.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from ekipl_lab.benchmarks.mini.blind import shuffle_images
from ekipl_lab.benchmarks.user_data import is_own, read_description
from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.evaluation import evaluate
from ekipl_lab.evaluation.metrics import mean_of, success_counts
from ekipl_lab.evaluation.run import Mode
from ekipl_lab.files import read_note, write_json, write_note, write_text
from ekipl_lab.policies.context import check_prompts_fit, context_length
from ekipl_lab.policies.load import Policy, as_policy, load_policy
from ekipl_lab.policies.source import PolicySource
from ekipl_lab.rewards import check_ground_truths, get_scorer
from ekipl_lab.statistics import pass_at_k, wilson
from ekipl_lab.training.config.sections import PolicySettings
from ekipl_lab.training.run_data import load_data
from ekipl_lab.training.sft.blind import blind_accuracy
from ekipl_lab.training.sft.data import Example
from ekipl_lab.training.sft.own import OwnSFT, OwnStart, examples_of, longest, stages_of
from ekipl_lab.training.sft.own_card import card, next_config
from ekipl_lab.training.sft.run import Log, Watch, finish, log_to
from ekipl_lab.types import EvalRecord, Sample

#: Steps that are timed, after a first one that is not.
TIMED = 5
#: Samples of a question for pass@k, and questions that are sampled.
SAMPLES, SAMPLED = 8, 100
#: Without a validation split, one picture in so many is held out.
HELD_OUT = 10


@dataclass(frozen=True, slots=True)
class Split:
    """What is learned and what it is measured on; ``held_out``: validation was taken from train."""

    train: list[Sample]
    validation: list[Sample]
    held_out: bool


def load_split(own: OwnSFT) -> Split:
    """The samples, each checked as training checks it; EKIPLError names what is wrong."""
    own = with_task(own)
    settings = PolicySettings(build="nano")  # no bounds on pixels
    train = load_data(own.data, settings)
    names = {own.data.split, "validation"}
    if is_own(own.data.benchmark):
        names &= set(read_description(own.data.benchmark).splits)
    if "validation" in names and own.data.split != "validation":
        update = {"split": "validation", "limit": own.validation}
        found = Split(train, load_data(own.data.model_copy(update=update), settings), False)
    else:
        found = _hold_out(train, own.validation)
    for samples in (found.train, found.validation):
        check_ground_truths(samples)
    return found


def with_task(own: OwnSFT) -> OwnSFT:
    """The settings with the task of the data where none is named."""
    if own.data.benchmark == "mini":
        raise ConfigError(
            "The built-in benchmark has recipes of its own; use --config configs/sft_counting.yaml."
        )
    if own.data.task:
        return own
    if not is_own(own.data.benchmark):
        raise ConfigError(f"Name the task of {own.data.benchmark!r}: data.task (or --task).")
    task = read_description(own.data.benchmark).task
    return own.model_copy(update={"data": own.data.model_copy(update={"task": task})})


def _hold_out(samples: Sequence[Sample], most: int) -> Split:
    """One picture in ten with all its questions, by a hash, is kept for validation.

    The hash is of the picture's name under the folder that all share, so that data which move are
    split alike.
    """
    train, kept = list[Sample](), list[Sample]()
    shown_by = [getattr(sample.images, "sources", (sample.id,)) for sample in samples]
    files = (one for sources in shown_by for one in sources if isinstance(one, Path))
    folders = {one.parent.resolve() for one in files}
    root = os.path.commonpath(folders) if folders else ""
    for sample, sources in zip(samples, shown_by, strict=True):
        names = [os.path.relpath(s.resolve(), root) if isinstance(s, Path) else s for s in sources]
        shown = repr(names)
        chosen = int(hashlib.sha256(shown.encode()).hexdigest(), 16) % HELD_OUT == 0
        (kept if chosen else train).append(sample)
    if not train or not kept:
        raise ConfigError(
            "The data have no validation split and too few pictures to hold some out; add "
            "`validation` to `splits`."
        )
    return Split(train, kept[:most], True)


def run_own(own: OwnSFT, log: Log | None = None, watch: Watch | None = None) -> dict[str, Any]:
    """Train, or continue, then measure; what ``reached.json`` holds.

    ``watch`` sees the steps of a stage, then the questions that are measured.
    """
    logging.disable_progress_bar()
    own = with_task(own)
    split = load_split(own)
    examples = examples_of(split.train, own.chains)
    torch.set_num_threads(1)
    steps = planned_steps(own, examples)
    run = OwnStart(stages_of(own, examples, steps), examples)
    fresh, tokens = as_policy(run.model, run.processor), longest(run.processor.tokenizer, examples)
    for samples in (split.train, split.validation):
        check_prompts_fit(fresh, samples, tokens, context_length(run.model))
    folder = finish(run, log or log_to(own.folder / "log.jsonl"), watch)
    policy = load_policy(folder)  # as saved, in half precision
    reached = measure(own, policy, split, tokens, watch) | {
        "steps": steps,
        "seconds": round(run.seconds),
        "image_side": run.config.image_size,
        "tokens": len(policy.processor.tokenizer),
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "held_out": split.held_out,
    }
    write_json(folder / "reached.json", reached)
    following = next_config(own, tokens, not split.held_out, len(split.train))
    write_text(folder / "grpo.yaml", following)
    write_text(folder / "README.md", card(own, reached))
    return reached


def planned_steps(own: OwnSFT, examples: Sequence[Example]) -> int:
    """Steps that the minutes are enough for; measured once, then kept beside the state."""
    if own.steps is not None:
        return own.steps
    path = own.folder / "plan.json"
    plan = read_note(path)
    if plan is None:
        trial = OwnStart(stages_of(own, examples, 1), examples)
        trial.train_step()
        begin = time.process_time()
        for _ in range(TIMED):
            trial.train_step()
        seconds = (time.process_time() - begin) / TIMED
        plan = {"minutes": own.minutes, "steps": max(1, round(60 * own.minutes / seconds))}
        write_note(path, plan)
    if plan["minutes"] != own.minutes:
        raise ConfigError(
            f"{str(own.folder)!r} holds the state of {plan['minutes']} minutes, not of "
            f"{own.minutes}; delete that folder or choose another --out."
        )
    return int(plan["steps"])


def measure(
    own: OwnSFT, policy: Policy, split: Split, tokens: int, watch: Watch | None = None
) -> dict[str, Any]:
    """Greedy accuracy on validation, beside blind solvers and the same policy with other pictures;
    sampled accuracy and pass@8 of some of its questions, and how much GRPO has to learn from in
    those of the training split."""
    asked, scorer = split.validation, get_scorer("ekipl/auto")
    source = PolicySource(policy, logprobs=False)

    def measured(what: str, mode: Mode, samples: Sequence[Sample]) -> list[EvalRecord]:
        progress = None if watch is None else partial(watch, f"measuring, {what}")
        return evaluate(
            source, samples, scorer, mode=mode, num_samples=SAMPLES, max_new_tokens=tokens,
            progress=progress,
        )  # fmt: skip

    try:
        others = shuffle_images(asked, own.seed)
    except DataError:  # a family without enough other pictures
        others = []
    greedy = measured("greedy", "greedy", asked)
    other = measured("other pictures", "greedy", others)
    sampled = measured("sampled", "sampled", asked[:SAMPLED])
    learned = measured("training questions", "sampled", split.train[:SAMPLED])
    floor = blind_accuracy(split.train, asked, scorer)
    right = [_first(record) for record in greedy]
    families = sorted({sample.family for sample in asked})
    rows = []
    for family in ("", *[name for name in families if name]):
        at = [i for i, sample in enumerate(asked) if family in ("", sample.family)]
        rows.append(
            {
                "family": family or "all",
                **_with_interval([right[i] for i in at]),
                **{name: _rounded([values[i] for i in at]) for name, values in floor.items()},
                "other_pictures": _rounded([_first(other[i]) for i in at]) if other else None,
            }
        )
    found = _sampled(learned)
    return {
        "split": "validation",
        "rows": rows,
        **_sampled(sampled),
        "training_items": found["sampled_items"],
        "right_training": found["pass_at_1"],
        "mixed_training": found["mixed"],
    }


def _first(record: EvalRecord) -> float | None:
    success = record.rewards[0].success
    return None if success is None else float(success)


def _rounded(values: Sequence[float | None]) -> float | None:
    mean = mean_of(values)
    return None if mean is None else round(mean, 4)


def _with_interval(values: Sequence[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    if not known:
        return {"greedy": None, "low": None, "high": None, "items": 0}
    found = wilson(round(sum(known)), len(known))
    ends = {"greedy": found.value, "low": found.low, "high": found.high}
    return {**{name: round(value, 4) for name, value in ends.items()}, "items": len(known)}


def _sampled(records: Sequence[EvalRecord]) -> dict[str, Any]:
    """pass@1 and pass@8, and the share of questions solved by some samples and not by others."""
    counts = [(n, c) for n, c in map(success_counts, records) if n == SAMPLES]
    return {
        "sampled_items": len(counts),
        "pass_at_1": _rounded([pass_at_k(n, c, 1) for n, c in counts]),
        f"pass_at_{SAMPLES}": _rounded([pass_at_k(n, c, SAMPLES) for n, c in counts]),
        "mixed": _rounded([float(0 < c < n) for n, c in counts]),
    }
