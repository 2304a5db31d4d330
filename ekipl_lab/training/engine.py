"""The policy measured by vLLM instead of our own generation: ``evaluation.engine: vllm``.

    engine = Engine(trainer, policy)
    source = engine.asked(samples, num_actions, params)    # on all ranks together
    source.propose(samples, num_actions, params)           # on each by itself

TRL's engine is asked about a whole set at once, each rank for equally many items (the last may be
asked about twice), after the weights were sent if the policy has learned since. It gives no
log-probabilities here, and draws of its own: a repeated measurement is another sample. Beside
`training.trainer` the one file that uses what is private to TRL.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object
from trl.data_utils import prepare_multimodal_messages

from ekipl_lab.policies.load import Policy
from ekipl_lab.policies.source import eos_token_ids
from ekipl_lab.prompts import build_messages
from ekipl_lab.types import POLICY, Action, Capabilities, GenerationParams, Sample, Usage

#: What a measurement sets on TRL's engine for its time; the bias on special tokens stays.
PLAIN = {"top_p": 1.0, "top_k": 0, "min_p": None, "repetition_penalty": 1.0}


@dataclass(frozen=True, slots=True)
class Answered:
    """A source of actions that were given before, by sample id."""

    actions: Mapping[str, Sequence[Action]]
    id: str = POLICY
    capabilities: Capabilities = field(default_factory=Capabilities)

    def propose(
        self, samples: Sequence[Sample], num_actions: int, params: GenerationParams
    ) -> list[list[Action]]:
        """Those of each sample."""
        return [list(self.actions[sample.id][:num_actions]) for sample in samples]


class Engine:
    """The vLLM engine of a trainer with ``use_vllm``."""

    def __init__(self, trainer: Any, policy: Policy) -> None:
        self._trainer, self._policy = trainer, policy

    def asked(self, samples: Sequence[Sample], count: int, params: GenerationParams) -> Answered:
        """``count`` actions for every sample, on every rank."""
        state = PartialState()
        each = math.ceil(len(samples) / state.num_processes)
        places = [min(place, len(samples) - 1) for place in range(each * state.num_processes)]
        mine = [samples[p] for p in places[state.process_index * each :][:each]]
        rows = self._completions(mine, count, params)
        actions = [self._actions(rows[i * count : (i + 1) * count], params) for i in range(each)]
        ids = [sample.id for sample in mine]
        return Answered(dict(gather_object(list(zip(ids, actions, strict=True)))))

    def _completions(
        self, samples: Sequence[Sample], count: int, params: GenerationParams
    ) -> list[list[int]]:
        """Token ids, ``count`` for every sample in turn."""
        trainer, engine = self._trainer, self._trainer.vllm_generation
        shown = any(sample.images for sample in samples)
        prompts = [
            prepare_multimodal_messages(build_messages(sample), images=list(sample.images))
            if shown else build_messages(sample)
            for sample in samples
        ]  # fmt: skip
        ids, images, _ = trainer._tokenize_prompts(prompts)
        if trainer.state.global_step != trainer._last_loaded_step:
            engine.sync_weights()
            trainer._last_loaded_step = trainer.state.global_step
        with measuring(engine, params):
            _, completions, _, _ = engine.generate(
                prompts=[row for row in ids for _ in range(count)],
                images=images and [shown for shown in images for _ in range(count)],
                num_generations=count,
            )
        return [list(row) for row in completions]

    def _actions(self, rows: Sequence[list[int]], params: GenerationParams) -> list[Action]:
        policy, ends = self._policy, set(eos_token_ids(self._policy))
        texts = policy.processor.tokenizer.batch_decode(
            rows, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return [
            Action(
                completion=policy.opens + text, source=POLICY, model_id=policy.id,
                token_ids=tuple(row), tokenizer_id=policy.tokenizer_id,
                finish_reason="stop" if len(row) < params.max_new_tokens or row[-1] in ends
                else "length",
                usage=Usage(completion_tokens=len(row)),
            )
            for text, row in zip(texts, rows, strict=True)
        ]  # fmt: skip


@contextmanager
def measuring(engine: Any, params: GenerationParams) -> Iterator[None]:
    """Within the block TRL's engine samples as ``params`` say, not as the training does."""
    bias = {k: v for k, v in engine.generation_kwargs.items() if k == "logit_bias"}
    wanted = PLAIN | {
        "temperature": params.temperature,
        "max_completion_length": params.max_new_tokens,
        "generation_kwargs": bias,
    }
    before = {name: getattr(engine, name) for name in wanted}
    vars(engine).update(wanted)
    try:
        yield
    finally:
        vars(engine).update(before)
