"""Teachers behind Google's own Gemini API.

``{type: gemini, id: flash, model: gemini-2.5-flash, max_tokens: 2048}``; thoughts, where the model
shows them (``extra_body: {generationConfig: {thinkingConfig: {includeThoughts: true}}}``), go into
``<think>``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal
from urllib.parse import quote

from ekipl_lab.teachers.adapters.chat import ApiSpec, ChatAdapter, prompt_parts
from ekipl_lab.teachers.adapters.http import ApiKey
from ekipl_lab.teachers.adapters.reading import spoken, tokens
from ekipl_lab.teachers.gateway.types import Call, Choice, Reply, TokenUsage

#: Whatever else ended an answer (safety, recitation, a malformed call) did not let it end.
_ENDED = {"STOP": "stop", "FINISH_REASON_UNSPECIFIED": "stop", "MAX_TOKENS": "length"}


class GeminiAdapter(ChatAdapter):
    """``POST {base_url}/models/{model}:generateContent``; the key goes into a header."""

    provider = "gemini"
    default_url = "https://generativelanguage.googleapis.com/v1beta"
    key = ApiKey("GEMINI_API_KEY", "x-goog-api-key")

    def path(self, call: Call) -> str:
        return f"/models/{quote(call.model, safe='')}:generateContent"

    def body(self, call: Call, choices: int) -> dict[str, Any]:
        """Images as inline data; the instruction as ``systemInstruction``."""
        extra = dict(call.parameters.get("extra_body", {}))
        config = {
            "temperature": call.parameters["temperature"],
            "topP": call.parameters["top_p"],
            "maxOutputTokens": call.max_tokens,
            **extra.pop("generationConfig", {}),
        }
        system, parts = prompt_parts(call, image=_image, text=lambda text: {"text": text})
        return {
            "contents": [{"role": "user", "parts": parts}],
            **({"systemInstruction": {"parts": [{"text": system}]}} if system else {}),
            "generationConfig": config,
            **extra,
        }

    def read(self, answer: Mapping[str, Any]) -> Reply:
        """One choice; a prompt that was blocked is a refusal."""
        usage = answer.get("usageMetadata")
        used = TokenUsage(
            prompt=tokens(usage, "promptTokenCount"),
            cached=tokens(usage, "cachedContentTokenCount") or 0,
            completion=tokens(usage, "candidatesTokenCount", "thoughtsTokenCount"),
        )
        blocked = (answer.get("promptFeedback") or {}).get("blockReason")
        if blocked:
            choice = Choice("", refusal=f"prompt blocked: {blocked}", raw=dict(answer))
        else:
            choice = _choice(answer)
        return Reply((choice,), used, str(answer.get("modelVersion") or self.model), {})


def _choice(answer: Mapping[str, Any]) -> Choice:
    candidate = answer["candidates"][0]
    reason = str(candidate.get("finishReason") or "STOP")
    if reason not in _ENDED:
        return Choice("", refusal=f"answer blocked: {reason}", raw=dict(answer))
    content = candidate["content"] if _ENDED[reason] == "stop" else candidate.get("content")
    text, reasoning = spoken((content or {}).get("parts"))
    return Choice(text, reasoning, finish_reason=_ENDED[reason], raw=dict(answer))


def _image(png: str) -> dict[str, Any]:
    return {"inlineData": {"mimeType": "image/png", "data": png}}


class GeminiSpec(ApiSpec):
    """Settings of a teacher behind the Gemini API."""

    type: Literal["gemini"] = "gemini"
    adapter: ClassVar = GeminiAdapter
