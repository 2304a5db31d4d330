"""What a supervised stage learns: actions of the run's teachers, or what the data bring along.

Teacher actions are those that the trainer buys: the same prompts in the same order, k of each
teacher, asked again with every pass over the data. What the policy could not have produced is left
out, as in the trainer, and with ``success_only`` what the scorer does not call a success.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from ekipl_lab.benchmarks.mini.chains import data_chain
from ekipl_lab.errors import ConfigError
from ekipl_lab.groups.encoder import policy_encoder
from ekipl_lab.parsing import THINK_OPEN
from ekipl_lab.policies.load import Policy
from ekipl_lab.policies.source import PolicySource
from ekipl_lab.rewards import get_scorer
from ekipl_lab.teachers.adapters.replay import completion_of
from ekipl_lab.teachers.encoding import ActionEncoder
from ekipl_lab.training.config.action_sft import ActionSFT
from ekipl_lab.training.config.plan import plan_run
from ekipl_lab.training.config.run_config import RunConfig
from ekipl_lab.training.dataset import prompt_order
from ekipl_lab.training.run_teachers import build_run_teachers
from ekipl_lab.training.sft.data import Example
from ekipl_lab.training.sft.solve_rate import solve_rate_weights
from ekipl_lab.types import Action, GenerationParams, Sample, Scorer, Usage


@dataclass(frozen=True, slots=True)
class Taught:
    """The examples that are learned, and what was asked for: actions and their tokens.

    ``tokens`` (n,) of each example; ``policy_completions`` and their tokens are the
    rollouts of a solve rate; ``refused``: how many were left out, by reason.
    """

    examples: list[Example]
    tokens: list[int]
    teacher_actions: int
    teacher_tokens: int
    policy_completions: int = 0
    policy_tokens: int = 0
    refused: dict[str, int] = field(default_factory=dict)

    def trained_tokens(self, steps: int, batch_size: int) -> float:
        """Tokens that so many steps are trained on, at the mean length."""
        return steps * batch_size * sum(self.tokens) / len(self.tokens)

    def split(self, share: float) -> tuple[Taught, list[Example]]:
        """What is learned, and what is held out: that share of the prompts, by a hash of the id."""
        names = {example.sample.id for example in self.examples}
        ordered = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
        held = set(ordered[: count_held_out(share, len(ordered))])
        pairs = list(zip(self.examples, self.tokens, strict=True))
        kept = [pair for pair in pairs if pair[0].sample.id not in held]
        learned = replace(self, examples=[e for e, _ in kept], tokens=[n for _, n in kept])
        return learned, [e for e, _ in pairs if e.sample.id in held]


def count_held_out(share: float, prompts: int) -> int:
    """How many prompts are held out; ConfigError where none is left to learn."""
    held = max(1, round(share * prompts)) if share else 0
    if share and held >= prompts:
        raise ConfigError(
            f"sft.validation {share} of {prompts} prompts leaves none to learn; take a smaller "
            "share or more data."
        )
    return held


def taught_examples(
    config: RunConfig, settings: ActionSFT, samples: Sequence[Sample], policy: Policy
) -> Taught:
    """Collect what ``policy`` learns. ConfigError if nothing is left."""
    encoder = policy_encoder(policy, config.ekipl, _limit(config))
    scorer = get_scorer(config.reward.scorer, config.reward.weights)
    found = _Collected(encoder, scorer, settings.success_only)
    if settings.learn == "actions":
        _ask_teachers(config, settings, samples, found)
    else:
        _read_data(settings, samples, found, policy.opens)
    if not found.examples:
        why = ", ".join(f"{reason} {count}" for reason, count in found.refused.items())
        raise ConfigError(
            f"{config.name}: none of the {settings.learn} can be learned from ({why}); "
            "grpo.max_completion_length bounds their length, and sft.success_only wants them right."
        )
    taught = Taught(
        found.examples, found.tokens, found.asked, found.spent, refused=dict(found.refused)
    )
    if settings.weighting == "none":
        return taught
    return _by_solve_rate(taught, policy, config, settings, scorer)


class _Collected:
    """Examples so far, and what they cost."""

    def __init__(self, encoder: ActionEncoder, scorer: Scorer, success_only: bool) -> None:
        self._encoder, self._scorer, self._success_only = encoder, scorer, success_only
        self.examples, self.tokens = list[Example](), list[int]()
        self.asked, self.spent, self.refused = 0, 0, Counter[str]()

    def add(self, sample: Sample, action: Action, *, bought: bool) -> None:
        """Learn an action of a sample, or count why not."""
        encoding = self._encoder.encode(action)
        if bought:
            usage = action.usage or Usage(completion_tokens=encoding.length)
            self.asked, self.spent = self.asked + 1, self.spent + usage.completion_tokens
        reason = encoding.refused
        if reason is None and self._success_only:
            reason = None if self._scorer(sample, action).success is True else "not_right"
        if reason is not None:
            self.refused[reason] += 1
            return
        self.examples.append(Example(sample, action.completion))
        self.tokens.append(encoding.length)


def _ask_teachers(
    config: RunConfig, settings: ActionSFT, samples: Sequence[Sample], found: _Collected
) -> None:
    teachers = build_run_teachers(config, samples)
    if not teachers:
        raise ConfigError(f"{config.name}: SFT on teacher actions needs teachers; name some.")
    plan = plan_run(config, len(samples))
    wanted = settings.actions or sum(plan.teacher_actions.values())
    for index, draw in _prompts(len(samples), plan.sizes.prompts, config.seed):
        params = GenerationParams(max_new_tokens=_limit(config), seed=draw)
        for teacher in teachers:
            count = min(teacher.actions, wanted - found.asked)
            if count <= 0:
                continue
            (actions,) = teacher.source.propose([samples[index]], count, params)
            for action in actions:
                found.add(samples[index], action, bought=True)
        if found.asked >= wanted:
            break


def _read_data(
    settings: ActionSFT, samples: Sequence[Sample], found: _Collected, opens: str
) -> None:
    """The chains of the data (of the built-in benchmark: its own, all right) count as teacher
    actions, their answers as nothing."""
    chains = settings.learn == "chains"
    for sample in samples[: settings.actions]:
        if not chains:
            text: str | None = answer_alone(sample, opens)
        elif sample.cot and sample.cot.strip():
            text = completion_of(sample)
        else:
            text = data_chain(sample)
        if text is None:
            found.refused["no_chain"] += 1
            continue
        found.add(sample, Action(text, "data", settings.learn), bought=chains)


def answer_alone(sample: Sample, opens: str = "") -> str:
    """The answer in its tags; after an empty chain where the prompt has already begun one."""
    head = f"{THINK_OPEN}</think>" if opens else ""
    return f"{head}<answer>{sample.answer}</answer>"


def _by_solve_rate(
    taught: Taught, policy: Policy, config: RunConfig, settings: ActionSFT, scorer: Scorer
) -> Taught:
    """The examples weighted by what the policy solves by itself; its rollouts are counted."""
    samples = list({e.sample.id: e.sample for e in taught.examples}.values())
    params = GenerationParams(max_new_tokens=_limit(config), seed=config.seed)
    source = PolicySource(policy, max_rows=config.evaluation.max_rows, logprobs=False)
    rollouts = source.propose(samples, settings.rollouts, params)
    own = {
        sample.id: [(Example(sample, a.completion), scorer(sample, a).success) for a in row]
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


def _limit(config: RunConfig) -> int:
    return int(config.grpo_settings["max_completion_length"])


def _prompts(count: int, per_generation: int, seed: int) -> Iterator[tuple[int, int]]:
    """(sample index, pass over the data) without end, as the trainer takes them."""
    for epoch in itertools.count():
        for indices in prompt_order(count, per_generation, epoch=epoch, seed=seed):
            for index in indices:
                yield index, epoch
