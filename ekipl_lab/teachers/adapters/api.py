"""From the spec of an API teacher to its gateway."""

from __future__ import annotations

from ekipl_lab.teachers.adapters.anthropic import AnthropicAdapter, AnthropicSpec
from ekipl_lab.teachers.adapters.gemini import GeminiAdapter, GeminiSpec
from ekipl_lab.teachers.adapters.openai_compatible import OpenAIAdapter, OpenAISpec
from ekipl_lab.teachers.gateway.gateway import Gateway

ApiTeacherSpec = OpenAISpec | AnthropicSpec | GeminiSpec


def build_api_teacher(spec: ApiTeacherSpec) -> Gateway:
    """Adapter and gateway of a spec; ConfigError for a bad URL, a missing key, extra or price."""
    if isinstance(spec, OpenAISpec):
        return Gateway(OpenAIAdapter(spec), spec.gateway)
    if isinstance(spec, AnthropicSpec):
        return Gateway(AnthropicAdapter(spec), spec.gateway)
    return Gateway(GeminiAdapter(spec), spec.gateway)
