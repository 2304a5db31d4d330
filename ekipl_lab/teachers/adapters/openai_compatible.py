"""Teachers behind the OpenAI chat API, at any base URL.

OpenAI, vLLM, `transformers serve`, llama.cpp, OpenRouter, Gemini's compatible endpoint::

    {type: openai, id: gpt, model: gpt-4o}
    {type: openai, id: own, model: Qwen/Qwen2.5-VL-7B-Instruct, base_url: "http://127.0.0.1:8000/v1"}

Servers that know no ``n`` or no log-probabilities ignore them; missing choices are asked one by
one. Reasoning beside the content (``reasoning_content``, ``reasoning``, ``thinking``, ...), and
parts of the content that are thoughts, go into ``<think>``.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, ClassVar, Literal

from pydantic import Field

from ekipl_lab.parsing import ANSWER_CLOSE
from ekipl_lab.teachers.adapters.chat import ApiSpec, ChatAdapter, prompt_parts
from ekipl_lab.teachers.adapters.http import ApiKey
from ekipl_lab.teachers.adapters.reading import spoken, tokens
from ekipl_lab.teachers.gateway.types import Call, Choice, Reply, TokenUsage
from ekipl_lab.types import Capabilities

_REASONING = (
    "reasoning_content", "reasoning", "reasoning_details", "thinking", "thinking_blocks",
    "reasoning_text", "thoughts",
)  # fmt: skip
#: What servers call the end of an answer, where it is not that it was whole.
_BROKEN = (
    "error", "abort", "insufficient_system_resource", "network_error", "timeout", "time_limit",
    "cancelled",
)  # fmt: skip
_REFUSED = (
    "content_filter", "safety", "image_safety", "refusal", "recitation", "prohibited_content",
    "blocklist", "spii", "sensitive", "guardrail_intervened",
)  # fmt: skip
_CUT = ("length", "max_tokens", "model_length", "max_length")
#: The answer was whole. One that ended for any other reason was only if it is closed.
_WHOLE = (
    "stop", "eos", "eos_token", "stop_sequence", "end_turn", "complete", "completed", "finished",
    "tool_calls", "function_call",
)  # fmt: skip


class OpenAIAdapter(ChatAdapter):
    """``POST {base_url}/chat/completions``."""

    provider = "openai"
    default_url = "https://api.openai.com/v1"
    key = ApiKey("OPENAI_API_KEY", "authorization", "Bearer ")

    def __init__(self, spec: OpenAISpec) -> None:
        super().__init__(spec)
        self._own = spec
        self.max_choices = spec.choices_per_request
        self.capabilities = Capabilities(logprobs=spec.logprobs, tokenizer_id=spec.tokenizer_id)
        limit = "max_completion_tokens" if self.base_url == self.default_url else "max_tokens"
        self._limit = spec.max_tokens_field or limit

    def own_parameters(self) -> dict[str, Any]:
        """Log-probabilities change what is stored, image detail what is seen."""
        detail = self._own.image_detail
        return {"logprobs": self._own.logprobs, **({"image_detail": detail} if detail else {})}

    def path(self, call: Call) -> str:
        return "/chat/completions"

    def body(self, call: Call, choices: int) -> dict[str, Any]:
        """Images as data URIs within the messages."""
        parameters = call.parameters
        system, content = prompt_parts(call, image=self._image)
        return {
            "model": call.model,
            "messages": [
                *([{"role": "system", "content": system}] if system else []),
                {"role": "user", "content": content},
            ],
            "temperature": parameters["temperature"],
            "top_p": parameters["top_p"],
            self._limit: call.max_tokens,
            **({"n": choices} if choices > 1 else {}),
            **({"logprobs": True} if parameters["logprobs"] else {}),
            **parameters.get("extra_body", {}),
        }

    def _image(self, png: str) -> dict[str, Any]:
        detail = self._own.image_detail
        url = {"url": f"data:image/png;base64,{png}", **({"detail": detail} if detail else {})}
        return {"type": "image_url", "image_url": url}

    def read(self, answer: Mapping[str, Any]) -> Reply:
        """Choices in the order of their index."""
        envelope = {key: value for key, value in answer.items() if key != "choices"}
        choices = sorted(answer["choices"], key=lambda choice: choice.get("index") or 0)
        return Reply(
            tuple(_choice(choice, envelope) for choice in choices),
            _usage(answer.get("usage")),
            str(answer.get("model") or self.model),
            envelope,
        )


def _choice(choice: Mapping[str, Any], envelope: Mapping[str, Any]) -> Choice:
    message = choice.get("message") or {"content": choice["text"]}
    thoughts = [message.get(name) for name in _REASONING]
    if not any(thoughts) and not isinstance(message["content"], str | list | dict | None):
        raise TypeError("content")
    text, thought = spoken(message.get("content"))
    text = text or spoken(message.get("text"))[0]  # beside a content that is null
    said = (thought, *("".join(spoken(each)) for each in thoughts))
    ended = choice.get("finish_reason") or "stop"
    reason = str(ended.get("type") if isinstance(ended, Mapping) else ended).lower()
    reason = reason.replace("-", "_")
    if reason in _BROKEN or choice.get("error"):  # on the server
        raise ValueError(reason)
    whole = reason in _WHOLE or (reason not in _CUT and text.rstrip().endswith(ANSWER_CLOSE))
    return Choice(
        text=text,
        reasoning=next(filter(None, said), ""),
        finish_reason="refusal" if reason in _REFUSED else "stop" if whole else "length",
        refusal=_refusal(message),
        logprobs=_logprobs(choice.get("logprobs")),
        token_ids=_token_ids(choice.get("token_ids")),
        raw={**envelope, "choices": [choice]},
    )


def _logprobs(said: Any) -> tuple[float, ...] | None:
    """Those of all tokens, or None: what stands beside a readable answer does not lose it."""
    entries = said.get("content") if isinstance(said, Mapping) else None
    try:
        found = tuple(float(entry["logprob"]) for entry in entries or ())
    except (LookupError, TypeError, ValueError, OverflowError):
        return None
    return found if found and all(map(isfinite, found)) else None


def _token_ids(said: Any) -> tuple[int, ...] | None:
    is_list = isinstance(said, list) and all(isinstance(token, int) for token in said)
    return tuple(said) if is_list and said else None


def _refusal(message: Mapping[str, Any]) -> str | None:
    """Why the model refused, said beside its content or as a part of it."""
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    said = [message, *(part for part in parts if isinstance(part, Mapping))]
    return next((str(one["refusal"]) for one in said if one.get("refusal")), None)


def _usage(usage: Any) -> TokenUsage:
    """Tokens of thoughts that a server (xAI, Gemini's compatible endpoint) counts in the total
    alone are paid for as the answer's."""
    details = usage.get("prompt_tokens_details") if isinstance(usage, Mapping) else None
    prompt, completion = tokens(usage, "prompt_tokens"), tokens(usage, "completion_tokens")
    total = tokens(usage, "total_tokens")
    if prompt and total and min(prompt, completion or 0) >= 0:
        completion = max(completion or 0, total - prompt)
    return TokenUsage(prompt, tokens(details, "cached_tokens") or 0, completion)


class OpenAISpec(ApiSpec):
    """Settings of an OpenAI-compatible teacher.

    ``choices_per_request``: answers asked for with one request (``n``), which saves prompt tokens
    where the server knows it. ``logprobs``: ask for them. ``tokenizer_id``: the hash of the
    server's tokenizer, if it returns token ids and you know it. ``max_tokens_field``: OpenAI's
    reasoning models want ``max_completion_tokens``.
    """

    type: Literal["openai"] = "openai"
    choices_per_request: int = Field(default=1, ge=1, le=128)
    logprobs: bool = False
    tokenizer_id: str | None = None
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    image_detail: Literal["auto", "low", "high"] | None = None
    adapter: ClassVar = OpenAIAdapter

    @property
    def may_give_logprobs(self) -> bool:
        return self.logprobs
