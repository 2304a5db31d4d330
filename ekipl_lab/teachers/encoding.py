"""A teacher's text as tokens the policy could have sampled itself, or a named refusal.

    "<think>two red</think><answer>2</answer>"  ->  (1052, ..., 1055, EOS)

The action must end in the policy's end-of-sequence token (else TRL counts it as truncated and the
policy never learns to stop) and must decode to exactly the text it came from. Special tokens in a
teacher's text stay text; where a tokenizer cannot do that, the action is refused, since one image
placeholder in a completion breaks the next forward pass.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from ekipl_lab.parsing import THINK_OPEN
from ekipl_lab.types import Action

#: Why an action cannot stand in a group, in the order the reasons are looked for.
REFUSALS = ("empty", "cut_off", "special_token", "not_round_trip", "too_long", "no_logprobs")


@dataclass(frozen=True, slots=True)
class Encoding:
    """``token_ids`` (T,) end in EOS; empty where ``refused`` names a reason of `REFUSALS`.

    ``length`` is the text's own number of tokens, without EOS, whether refused or not.
    ``logprobs`` (T,) are the teacher's own, of exactly these tokens; None where it has none.
    """

    token_ids: tuple[int, ...] = ()
    refused: str | None = None
    length: int = 0
    logprobs: tuple[float, ...] | None = None


class ActionEncoder:
    """Encodes teacher actions for one policy.

    ``max_tokens`` is the longest completion, EOS included; ``forbidden`` are token ids that the
    policy itself may not sample. With ``tokenizer_id``, an action that brings its own tokens of
    that tokenizer and their log-probabilities keeps both; ``need_logprobs`` refuses all others.
    ``opens`` is what the policy's prompt has written of the answer (`Policy.opens`): prompt and
    tokens together hold its ``<think>`` once.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        eos_id: int,
        max_tokens: int,
        forbidden: Collection[int],
        tokenizer_id: str | None = None,
        opens: str = "",
        need_logprobs: bool = False,
    ) -> None:
        self._tokenizer = tokenizer
        self._eos_id, self._max_tokens = eos_id, max_tokens
        self._forbidden = frozenset(forbidden) | {eos_id}
        self._tokenizer_id, self._need_logprobs = tokenizer_id, need_logprobs
        self._opens = opens

    def encode(self, action: Action) -> Encoding:
        """Tokens of the action's text and EOS, or the first reason against it."""
        text = self._after_opening(action.completion)
        own = self._scored_tokens(action)
        if own is not None:
            ids = list(own)
        else:
            ids = self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)[
                "input_ids"
            ]
        reason = self._against(action, text, ids)
        if reason == "not_round_trip" and own is not None:  # its own prompt opens otherwise
            return self.encode(replace(action, token_ids=None, logprobs=None))
        if reason is None and own is None and self._need_logprobs:
            reason = "no_logprobs"
        if reason:
            return Encoding(refused=reason, length=len(ids))
        logprobs = None if own is None else action.logprobs
        return Encoding((*ids, self._eos_id), None, len(ids), logprobs)

    def _scored_tokens(self, action: Action) -> tuple[int, ...] | None:
        """The action's own tokens without EOS, if it has some of this tokenizer, with their q."""
        ids, logprobs = action.token_ids, action.logprobs
        if self._tokenizer_id is None or action.tokenizer_id != self._tokenizer_id:
            return None
        if not ids or logprobs is None or len(logprobs) != len(ids) or ids[-1] != self._eos_id:
            return None
        return ids[:-1]

    def _after_opening(self, text: str) -> str:
        """What is left to write after the prompt; all of it where that is another beginning."""
        if not self._opens or text.startswith(self._opens):
            return text.removeprefix(self._opens)
        rest = text.lstrip().removeprefix(THINK_OPEN)
        return rest.lstrip() if self._opens[-1].isspace() else rest

    def _against(self, action: Action, text: str, ids: list[int]) -> str | None:
        if not text.strip():
            return "empty"
        if action.finish_reason != "stop":
            return "cut_off"
        if self._forbidden.intersection(ids):
            return "special_token"
        if self._opens and not action.completion.lstrip().startswith(THINK_OPEN):
            return "not_round_trip"
        if not self._round_trips(ids, text):
            return "not_round_trip"
        return "too_long" if len(ids) + 1 > self._max_tokens else None

    def _round_trips(self, ids: list[int], text: str) -> bool:
        """Both with and without special tokens, since TRL decodes without."""
        return all(
            self._tokenizer.decode(
                ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False
            )
            == text
            for skip in (True, False)
        )
