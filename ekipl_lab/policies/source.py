"""The policy as an ActionSource: completions for samples, by local batched generation.

policy = load_policy("assets/policies/counting")
actions = PolicySource(policy).propose(samples, 32, GenerationParams(seed=0))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.policies.context import (
    check_fits,
    check_words,
    context_length,
    encoded_length,
    special_tokens,
)
from ekipl_lab.policies.generation import Draws, generate
from ekipl_lab.policies.load import Policy
from ekipl_lab.prompts import build_messages
from ekipl_lab.types import (
    POLICY,
    Action,
    Capabilities,
    GenerationParams,
    OnComplete,
    Sample,
    Usage,
)

#: How tokens become text.
_DECODING = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}


def eos_token_ids(policy: Policy) -> list[int]:
    """Token ids that end a completion: the tokenizer's and those of the generation config."""
    configured = getattr(policy.model.generation_config, "eos_token_id", None)
    more = configured if isinstance(configured, list) else [configured]
    ids = [policy.processor.tokenizer.eos_token_id, *more]
    return list(dict.fromkeys(i for i in ids if i is not None))


def suppressed_token_ids(policy: Policy) -> list[int]:
    """Special tokens that a completion must not hold: image, vision, role and padding tokens.

    An image token in a completion makes the next forward pass fail. Give the same list to the
    trainer's generation, or the two sample from different distributions.
    """
    ends = set(eos_token_ids(policy))
    special = set(policy.processor.tokenizer.all_special_ids)
    for name in ("image_token", "video_token", "vision_start_token", "vision_end_token"):
        if isinstance(token := getattr(policy.model.config, f"{name}_id", None), int):
            special.add(token)
    return sorted(special - ends)


def encode_prompts(policy: Policy, samples: Sequence[Sample]) -> Any:
    """Processor inputs of the samples' prompts, padded on the left, on the model's device."""
    texts = [
        policy.processor.apply_chat_template(build_messages(sample), add_generation_prompt=True)
        for sample in samples
    ]
    images: list[Any] = [list(sample.images) for sample in samples]  # by prompt: Gemma3 wants it
    if not all(images):
        images = [image for shown in images for image in shown]
    inputs = policy.processor(
        text=texts,
        images=images or None,
        padding=True,
        padding_side="left",
        return_tensors="pt",
    ).to(policy.model.device)
    if "pixel_values" in inputs:
        inputs["pixel_values"] = inputs["pixel_values"].to(policy.model.dtype)
    return inputs


class PolicySource:
    """Proposes actions by sampling from a policy. It has its own random state.

    ``action_source`` is what the actions call their source: "policy" for the trained policy, the
    teacher's id where a second model plays teacher. ``max_rows`` bounds the rows generated at once.
    """

    def __init__(
        self,
        policy: Policy,
        id: str = POLICY,
        *,
        action_source: str | None = None,
        max_rows: int = 256,
        logprobs: bool = True,
    ) -> None:
        if max_rows < 1:
            raise ConfigError(f"max_rows must be at least 1, not {max_rows}.")
        self._policy, self._id = policy, id
        self._source = action_source or id
        self._max_rows, self._logprobs = max_rows, logprobs

    @property
    def id(self) -> str:
        return self._id

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(logprobs=self._logprobs, tokenizer_id=self._policy.tokenizer_id)

    def propose(
        self, samples: Sequence[Sample], num_actions: int, params: GenerationParams
    ) -> list[list[Action]]:
        """``num_actions`` completions for every sample, in order; equal ones if greedy.

        ``logprobs`` are those of the distribution that was sampled (temperature, top-k, top-p and
        suppressed tokens applied); at temperature 0, those at temperature 1. Raises DataError
        that names the sample if its prompt cannot be encoded or does not fit.
        """
        return self.propose_streaming(samples, num_actions, params)

    def propose_streaming(
        self,
        samples: Sequence[Sample],
        num_actions: int,
        params: GenerationParams,
        on_complete: OnComplete | None = None,
        *,
        on_texts: Callable[[Sequence[str]], None] | None = None,
    ) -> list[list[Action]]:
        """As ``propose``; ``on_complete(index, actions)`` once a sample's last completion ended.

        ``on_texts`` is given the completions of a batch so far, one if greedy, after each token;
        what it raises ends the sampling.
        """
        if num_actions < 1:
            raise ConfigError(f"num_actions must be at least 1, not {num_actions}.")
        draws_in_memory = 1 if params.temperature <= 0 else num_actions
        chunk = max(1, self._max_rows // draws_in_memory)
        actions: list[list[Action]] = []
        for start in range(0, len(samples), chunk):
            part = samples[start : start + chunk]
            shifted = None if on_complete is None else _shifted(on_complete, start)
            actions += self._propose_chunk(part, num_actions, params, shifted, on_texts)
        return actions

    def _propose_chunk(
        self,
        samples: Sequence[Sample],
        num_actions: int,
        params: GenerationParams,
        on_complete: OnComplete | None,
        on_texts: Callable[[Sequence[str]], None] | None,
    ) -> list[list[Action]]:
        policy = self._policy
        try:
            reserved = special_tokens(policy)
            for sample in samples:
                check_words(sample, reserved)
            inputs = encode_prompts(policy, samples)
        except ValueError as error:
            for sample in samples:
                encoded_length(policy, sample)  # raises for the one
            names = ", ".join(sample.id for sample in samples)
            raise DataError(
                f"The prompts of samples {names} cannot be encoded together ({error}); give "
                "them images of one kind."
            ) from error
        prompt_lengths = inputs["attention_mask"].sum(-1).tolist()
        context = context_length(policy.model)
        for sample, length in zip(samples, prompt_lengths, strict=True):
            check_fits(sample, length, params.max_new_tokens, context)

        def on_prompt(index: int, draws: Draws) -> None:
            if on_complete is not None:
                on_complete(index, self._actions(draws, [prompt_lengths[index]] * num_actions))

        def on_token(rows: Tensor) -> None:
            if on_texts is not None:
                texts = policy.processor.tokenizer.batch_decode(rows, **_DECODING)
                on_texts([policy.opens + text for text in texts])

        was_training = policy.model.training
        policy.model.eval()
        try:
            draws = generate(
                policy.model,
                inputs,
                keys=[sample.id for sample in samples],
                draws=num_actions,
                params=params,
                eos=eos_token_ids(policy),
                pad=policy.processor.tokenizer.pad_token_id,
                suppressed=suppressed_token_ids(policy),
                on_prompt=on_prompt if on_complete is not None else None,
                on_token=on_token if on_texts is not None else None,
            )
        finally:
            policy.model.train(was_training)
        actions = self._actions(draws, [n for n in prompt_lengths for _ in range(num_actions)])
        return [actions[i : i + num_actions] for i in range(0, len(actions), num_actions)]

    def _actions(self, draws: Draws, prompt_lengths: Sequence[int]) -> list[Action]:
        policy, lengths = self._policy, draws.lengths.tolist()
        rows = [row[:n] for row, n in zip(draws.tokens.tolist(), lengths, strict=True)]
        ends = set(eos_token_ids(policy))
        texts = policy.processor.tokenizer.batch_decode(
            [row[:-1] if row[-1] in ends else row for row in rows], **_DECODING
        )
        logprobs = draws.logprobs.tolist()
        return [
            Action(
                completion=policy.opens + texts[i],
                source=self._source,
                model_id=policy.id,
                token_ids=tuple(row),
                logprobs=tuple(logprobs[i][: len(row)]) if self._logprobs else None,
                tokenizer_id=policy.tokenizer_id,
                finish_reason="stop" if bool(draws.stopped[i]) else "length",
                usage=Usage(prompt_tokens=prompt_lengths[i], completion_tokens=len(row)),
            )
            for i, row in enumerate(rows)
        ]


def _shifted(on_complete: OnComplete, start: int) -> OnComplete:
    return lambda index, actions: on_complete(start + index, actions)
