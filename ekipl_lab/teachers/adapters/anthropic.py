"""Teachers behind Anthropic's own Messages API.

``{type: anthropic, id: claude, model: claude-sonnet-4-5, max_tokens: 1024}``; extended thinking by
``extra_body: {thinking: {type: enabled, budget_tokens: 1024}}``: its blocks go into ``<think>``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from ekipl_lab.teachers.adapters.chat import ApiSpec, ChatAdapter, prompt_parts
from ekipl_lab.teachers.adapters.http import ApiKey
from ekipl_lab.teachers.adapters.reading import spoken, tokens
from ekipl_lab.teachers.gateway.types import Call, Choice, Reply, TokenUsage

_FINISH = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refusal",
}


class AnthropicAdapter(ChatAdapter):
    """``POST {base_url}/messages``."""

    provider = "anthropic"
    default_url = "https://api.anthropic.com/v1"
    key = ApiKey("ANTHROPIC_API_KEY", "x-api-key")
    headers: Mapping[str, str] = {"anthropic-version": "2023-06-01"}

    def path(self, call: Call) -> str:
        return "/messages"

    def body(self, call: Call, choices: int) -> dict[str, Any]:
        """Images as base64 blocks; the instruction as ``system``."""
        system, content = prompt_parts(call, image=_image)
        extra = call.parameters.get("extra_body", {})
        sampling = {"temperature": min(call.parameters["temperature"], 1.0)}
        if call.parameters["top_p"] < 1.0:  # newer models take only one of the two
            sampling["top_p"] = call.parameters["top_p"]
        return {
            "model": call.model,
            "max_tokens": call.max_tokens,
            **({"system": system} if system else {}),
            "messages": [{"role": "user", "content": content}],
            **({} if "thinking" in extra else sampling),  # thinking allows no temperature
            **extra,
        }

    def read(self, answer: Mapping[str, Any]) -> Reply:
        """One choice: its text blocks, its thinking blocks as reasoning."""
        text, reasoning = spoken(answer["content"])
        usage = answer.get("usage")
        kinds = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
        reason = str(answer.get("stop_reason") or "end_turn")
        choice = Choice(
            text=text,
            reasoning=reasoning,
            finish_reason=_FINISH.get(reason, "stop"),
            raw=dict(answer),
        )
        prompt = None if tokens(usage, kinds[0]) is None else tokens(usage, *kinds)
        used = TokenUsage(prompt, tokens(usage, kinds[-1]) or 0, tokens(usage, "output_tokens"))
        return Reply((choice,), used, str(answer.get("model") or self.model), {})


def _image(png: str) -> dict[str, Any]:
    source = {"type": "base64", "media_type": "image/png", "data": png}
    return {"type": "image", "source": source}


class AnthropicSpec(ApiSpec):
    """Settings of a teacher behind Anthropic's API; it knows no temperature above 1: 1 is sent."""

    type: Literal["anthropic"] = "anthropic"
    adapter: ClassVar = AnthropicAdapter
