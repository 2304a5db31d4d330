"""Supervised steps of a tiny policy on the actions that the teachers of a run would give it.

The actions are those that the trainer buys: the same prompts in the same order, k of each teacher,
asked again with every pass over the data. Actions that the policy could not have produced are left
out, as in the trainer, and with ``success_only`` those that failed.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import Field

from ekipl_lab.errors import ConfigError
from ekipl_lab.groups.collect import Scorer
from ekipl_lab.groups.encoder import policy_encoder
from ekipl_lab.policies.load import Policy, load_policy
from ekipl_lab.policies.source import PolicySource
from ekipl_lab.rewards import get_scorer
from ekipl_lab.training.config.plan import plan_run
from ekipl_lab.training.config.run_config import RunConfig
from ekipl_lab.training.dataset import prompt_order
from ekipl_lab.training.paths import policy_path
from ekipl_lab.training.setup import build_run_teachers, load_training_samples
from ekipl_lab.training.sft.config import SFTConfig, Stage
from ekipl_lab.training.sft.data import Example
from ekipl_lab.training.sft.solve_rate import solve_rate_weights
from ekipl_lab.types import GenerationParams, Usage
from ekipl_lab.validation import Count, Section


class ActionSFT(Section):
    """How teacher actions are learned.

    ``actions``: asked for, before any is left out; unset: as many as the run asks for.
    ``epochs`` passes over those that are learned; rates as in `sft.config.Stage`. ``weighting``
    ``solve_rate`` weighs them as `solve_rate` says, over ``rollouts`` of the policy a prompt.
    """

    actions: Count | None = None
    success_only: bool = True
    epochs: float = Field(default=1.0, gt=0, le=1000)
    batch_size: Count = 64
    matrix_lr: float = Field(default=0.006, ge=0)
    rest_lr: float = Field(default=0.0015, ge=0)
    warmup: int = Field(default=10, ge=0)
    final: float = Field(default=0.03, ge=0, le=1)
    weighting: Literal["none", "solve_rate"] = "none"
    rollouts: int = Field(default=8, ge=1, le=1024)


@dataclass(frozen=True, slots=True)
class Taught:
    """The examples that are learned, and what was asked for: actions and their tokens.

    ``tokens`` (n,) of each example, EOS included; ``policy_completions`` and their tokens are the
    rollouts of a solve rate.
    """

    examples: list[Example]
    tokens: list[int]
    teacher_actions: int
    teacher_tokens: int
    policy_completions: int = 0
    policy_tokens: int = 0

    def trained_tokens(self, steps: int, batch_size: int) -> float:
        """Tokens that so many steps are trained on, at the mean length."""
        return steps * batch_size * sum(self.tokens) / len(self.tokens)


def teacher_examples(config: RunConfig, settings: ActionSFT) -> Taught:
    """Ask the teachers of a run, in the order of its prompts. ConfigError if nothing is left."""
    samples = load_training_samples(config)
    teachers = build_run_teachers(config, samples)
    if not teachers:
        raise ConfigError(f"{config.name}: SFT on teacher actions needs teachers; name some.")
    plan = plan_run(config, len(samples))
    wanted = settings.actions or sum(plan.teacher_actions.values())
    policy = load_policy(policy_path(config.policy.path or ""))
    limit = int(config.grpo_settings["max_completion_length"])
    encoder, scorer = (
        policy_encoder(policy, config.ekipl, limit),
        get_scorer(config.reward.scorer, config.reward.weights),
    )
    asked, spent, examples, tokens = 0, 0, list[Example](), list[int]()
    for index, draw in _prompts(len(samples), plan.sizes.prompts, config.seed):
        params = GenerationParams(max_new_tokens=limit, seed=draw)
        for teacher in teachers:
            count = min(teacher.actions, wanted - asked)
            if count <= 0:
                continue
            (actions,) = teacher.source.propose([samples[index]], count, params)
            for action in actions:
                encoding = encoder.encode(action)
                usage = action.usage or Usage(completion_tokens=encoding.length)
                asked, spent = asked + 1, spent + usage.completion_tokens
                right = not settings.success_only or scorer(samples[index], action).success is True
                if encoding.refused is None and right:
                    examples.append(Example(samples[index], action.completion))
                    tokens.append(encoding.length)
        if asked >= wanted:
            break
    if not examples:
        raise ConfigError(f"{config.name}: no action of the teachers can be learned from.")
    taught = Taught(examples, tokens, asked, spent)
    if settings.weighting == "none":
        return taught
    return _by_solve_rate(taught, policy, config, settings, scorer)


def _by_solve_rate(
    taught: Taught, policy: Policy, config: RunConfig, settings: ActionSFT, scorer: Scorer
) -> Taught:
    """The examples weighted by what the policy solves by itself; its rollouts are counted."""
    samples = list({e.sample.id: e.sample for e in taught.examples}.values())
    limit = int(config.grpo_settings["max_completion_length"])
    params = GenerationParams(max_new_tokens=limit, seed=config.seed)
    source = PolicySource(policy, max_rows=config.evaluation.max_rows, logprobs=False)
    rollouts = source.propose(samples, settings.rollouts, params)
    own = {
        sample.id: [(Example(sample, a.completion), scorer(sample, a).success is True) for a in row]
        for sample, row in zip(samples, rollouts, strict=True)
    }
    examples = solve_rate_weights(taught.examples, own)
    tokenizer = policy.processor.tokenizer
    lengths = [len(ids) + 1 for ids in tokenizer([e.completion for e in examples]).input_ids]
    spent = sum(len(action.token_ids or ()) for row in rollouts for action in row)
    return replace(
        taught,
        examples=examples,
        tokens=lengths,
        policy_completions=len(samples) * settings.rollouts,
        policy_tokens=spent,
    )


def _prompts(count: int, per_generation: int, seed: int) -> Iterator[tuple[int, int]]:
    """(sample index, pass over the data) without end, as the trainer takes them."""
    for epoch in itertools.count():
        for indices in prompt_order(count, per_generation, epoch=epoch, seed=seed):
            for index in indices:
                yield index, epoch


def sft_config(
    config: RunConfig, settings: ActionSFT, taught: Taught, folder: Path, output: Path
) -> SFTConfig:
    """The warm start that learns them from the policy of ``config``."""
    said = [(e.sample.id, e.completion, e.weight) for e in taught.examples]
    digest = hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]
    stage = Stage(
        name="actions",
        steps=max(1, math.ceil(len(taught.examples) * settings.epochs / settings.batch_size)),
        mixture={f"teacher actions {digest}": 1.0},
        **settings.model_dump(include={"batch_size", "matrix_lr", "rest_lr", "warmup", "final"}),
    )
    policy: Path = Path(policy_path(config.policy.path or ""))
    side = load_policy(policy).processor.image_processor.size["shortest_edge"] ** 0.5
    return SFTConfig(
        name=config.name,
        task=config.data.task,
        seed=config.seed,
        image_size=int(side),
        init=policy,
        work_dir=folder,
        output=output,
        save_every=50,
        stages=[stage],
    )
