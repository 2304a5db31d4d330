"""The core values of the workbench; this docstring is the glossary, in the order the data flows.

Sample          one benchmark item: image(s), a question, its verifiable answer.
Action          one whole completion for a sample, ``<think> ... </think><answer> ... </answer>``,
                from the policy or from a teacher.
ActionSource    anything that proposes actions: the policy, a teacher, a replay of either.
RewardBreakdown what an action earned, criterion by criterion; "could not be scored" is None, not 0.
ActionGroup     all candidates of one prompt (policy first, then teachers), which were kept, and
                the advantage of each kept one. Dropped candidates stay, so that every decision
                can be audited.
EvalRecord      the actions of one source on one sample at evaluation, with their rewards.

G is the group size (policy completions per prompt), M the number of teachers, k the actions asked
of each teacher: a group has N = G + M*k candidates, of which G are kept.

Everything here is frozen and needs the standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from PIL.Image import Image

#: ``Action.source`` of every action that the trained policy sampled; teachers use their own id.
POLICY = "policy"
#: What is trained on, whoever gave it, in metrics and figures; as POLICY, no teacher's id.
KEPT = "kept"

#: ``Action.finish_reason`` in an evaluation where the source gave no action (see ``Action``).
MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Sample:
    """One benchmark item.

    ``id`` is unique and enough to rebuild the sample, e.g. ``mini/counting/test/s0/000012``.
    ``split`` is one of train, validation, test, test_ood. ``answer_type`` names the matcher that
    compares answers (``ekipl_lab.rewards``). ``family`` is the kind of question within the task,
    ``difficulty`` a small integer (objects, changes or steps) by which results are sliced.
    ``metadata`` is JSON-serialisable; procedural benchmarks keep the scene there.
    """

    id: str
    task: str
    split: str
    images: tuple[Image, ...]
    question: str
    answer: str
    answer_type: str
    family: str = ""
    choices: tuple[str, ...] = ()
    cot: str | None = None
    difficulty: int = 0
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GenerationParams:
    """How actions are sampled. ``temperature`` 0 means greedy; ``seed`` None means unseeded."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 64
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What one action cost: tokens read (None: not counted) and written, money (USD), seconds of
    latency."""

    prompt_tokens: int | None = 0
    completion_tokens: int = 0
    cost: float = 0.0
    latency: float = 0.0
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Action:
    """One whole completion.

    ``token_ids`` (T,) and ``logprobs`` (T,), natural log, are those of the source's own tokenizer,
    named by ``tokenizer_id`` (a hash); None where the source has none. ``finish_reason`` is
    ``stop`` (ended by itself), ``length`` (cut off), or, in evaluations only, ``missing``: the
    source gave no action here (a gateway that skips failures), which is counted and never scored.
    """

    completion: str
    source: str
    model_id: str
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    tokenizer_id: str | None = None
    finish_reason: str = "stop"
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class RewardBreakdown:
    """What one action earned.

    ``components`` maps criterion (accuracy, format, ...) to its value, None where it could not be
    scored. ``success`` is about the accuracy component alone, never the total.
    """

    components: Mapping[str, float | None]
    weights: Mapping[str, float]
    success: bool | None
    extracted_answer: str | None = None
    explanation: str = ""

    @property
    def total(self) -> float | None:
        """Weighted sum of the components; None (never 0) if a weighted component is None."""
        total = 0.0
        for name, weight in self.weights.items():
            if weight == 0.0:
                continue
            value = self.components[name]
            if value is None:
                return None
            total += weight * value
        return total


#: What an action of a sample earns; pure. None components where it cannot be scored.
Scorer = Callable[[Sample, Action], RewardBreakdown]


@dataclass(frozen=True, slots=True)
class ActionGroup:
    """All N candidates of one prompt and what became of them.

    ``kept`` (G,) are indices into ``candidates`` in pool order; ``advantages`` (G,) belong to
    them one by one; ``rule`` is the name of the selection rule.
    """

    sample: Sample
    candidates: tuple[Action, ...]
    rewards: tuple[RewardBreakdown, ...]
    kept: tuple[int, ...]
    advantages: tuple[float, ...]
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a source can take and give."""

    images: bool = True
    several_images: bool = True
    logprobs: bool = False
    tokenizer_id: str | None = None


@runtime_checkable
class ActionSource(Protocol):
    """Policies and teachers alike."""

    @property
    def id(self) -> str:
        """Unique within a run; ``Action.source`` of what it proposes."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can take and give."""

    def propose(
        self, samples: Sequence[Sample], num_actions: int, params: GenerationParams
    ) -> list[list[Action]]:
        """Exactly ``num_actions`` actions for every sample, in order.

        Raises TeacherError that names the sample if a source cannot give them.
        """


#: Called with (index of a sample, its actions) as soon as the last of them is there.
OnComplete = Callable[[int, list[Action]], None]


@runtime_checkable
class StreamingSource(ActionSource, Protocol):
    """An ActionSource that hands over a sample's actions while others of the batch still run."""

    def propose_streaming(
        self,
        samples: Sequence[Sample],
        num_actions: int,
        params: GenerationParams,
        on_complete: OnComplete,
    ) -> list[list[Action]]:
        """As ``propose``; ``on_complete`` is called once a sample, with the same actions."""


@dataclass(frozen=True, slots=True)
class EvalRecord:
    """All actions of one source on one sample, in sampling order, with their rewards.

    ``mode`` is ``greedy`` (one action, temperature 0) or ``sampled`` (n actions).
    """

    sample_id: str
    task: str
    split: str
    family: str
    difficulty: int
    model_id: str
    mode: str
    actions: tuple[Action, ...]
    rewards: tuple[RewardBreakdown, ...]
