"""The values between the gateway and an adapter, in the order they flow.

Sample -> Call (everything that decides the answer, and nothing secret) -> Reply (one or more
Choices and what they used) -> the cache -> Action, or a Failure that names the sample.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ekipl_lab.errors import TeacherError
from ekipl_lab.images import to_rgb
from ekipl_lab.teachers.gateway.cache import cache_key
from ekipl_lab.types import Action, Capabilities, GenerationParams, Sample

if TYPE_CHECKING:
    from PIL.Image import Image

#: Raise it whenever the parts of a key change their meaning: no old answer is found then.
KEY_VERSION = 1


@dataclass(frozen=True, slots=True)
class Call:
    """One prompt for one model. ``images`` are referred to by ``{"type": "image"}`` contents, in
    order; ``parameters`` are JSON values; ``max_tokens`` bounds one choice's output."""

    sample_id: str
    provider: str
    model: str
    base_url: str
    messages: Sequence[Mapping[str, Any]]
    images: tuple[Image, ...]
    parameters: Mapping[str, Any]
    prompt_version: str
    max_tokens: int

    @property
    def text(self) -> str:
        """All text of the prompt."""
        return "\n".join(
            part["text"]
            for message in self.messages
            for part in message["content"]
            if part["type"] == "text"
        )

    def parts(self) -> dict[str, Any]:
        """What a cache key is made of, but for the action's index. The sample's id is not."""
        return {
            "key_version": KEY_VERSION,
            "provider": self.provider,
            "model": self.model,
            "base_url": self.base_url,
            "messages": self.messages,
            "images": [image_digest(image) for image in self.images],
            "parameters": self.parameters,
            "max_tokens": self.max_tokens,
            "prompt_version": self.prompt_version,
        }


def image_digest(image: Image) -> str:
    """SHA-256 of size and RGB pixels: the same on every machine, whatever encodes the file."""
    rgb = to_rgb(image).image
    return hashlib.sha256(f"{rgb.width}x{rgb.height}:".encode() + rgb.tobytes()).hexdigest()


def action_key(parts: Mapping[str, Any], index: int, attempt: int = 0) -> str:
    """The key of action ``index``; ``attempt`` counts earlier answers that were unusable."""
    return cache_key({**parts, "index": index, "attempt": attempt})


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer as the server gave it. ``refusal`` is its text if the model refused.

    ``logprobs`` (T,) natural log; ``finish_reason`` is stop, length or refusal."""

    text: str
    reasoning: str = ""
    finish_reason: str = "stop"
    refusal: str | None = None
    logprobs: tuple[float, ...] | None = None
    token_ids: tuple[int, ...] | None = None
    raw: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens of one request, None where the server counts none; ``cached`` are among ``prompt``."""

    prompt: int | None = None
    cached: int = 0
    completion: int | None = None

    def counts(self) -> tuple[int, int, int]:
        """The three numbers of what is booked, in which none is missing."""
        assert self.prompt is not None and self.completion is not None
        return self.prompt, self.cached, self.completion


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one request, with as many choices as the server made."""

    choices: tuple[Choice, ...]
    usage: TokenUsage
    model: str
    raw: Mapping[str, Any] = field(default_factory=dict)


def to_value(
    choice: Choice, usage: TokenUsage, model: str, cost: float, latency: float
) -> dict[str, Any]:
    """The JSON that the cache keeps of one choice."""
    return {
        "choice": asdict(choice),
        "usage": asdict(usage),
        "model": model,
        "cost": cost,
        "latency": latency,
    }


class CallError(TeacherError):
    """One request failed.

    ``kind`` is a short name to count by; ``retryable``: the same request may yet succeed;
    ``wait``: seconds the server asks for; ``maybe_billed``: the provider may have charged for it.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        retryable: bool = True,
        maybe_billed: bool = True,
        wait: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind, self.wait = kind, wait
        self.retryable, self.maybe_billed = retryable, maybe_billed


def stopped() -> CallError:
    """What is not sent any more, because asking was ended."""
    return CallError("stopped", "nothing more was sent", retryable=False, maybe_billed=False)


@dataclass(frozen=True, slots=True)
class Failure:
    """An action that is missing, and why."""

    sample_id: str
    index: int
    kind: str
    message: str


class Adapter(Protocol):
    """One provider's protocol: a sample into a call, a call into a reply. One attempt, no waiting.

    ``max_choices`` is how many answers one request may bring (the ``n`` of some APIs). ``local``:
    the server is on this machine, so that it costs nothing.
    """

    id: str
    provider: str
    model: str
    base_url: str
    local: bool
    max_choices: int
    capabilities: Capabilities

    def call(self, sample: Sample, params: GenerationParams) -> Call:
        """The call for a sample; pure."""
        ...

    def send(self, call: Call, choices: int, timeout: float) -> Reply:
        """Send it once; CallError if there is no answer within ``timeout`` seconds."""
        ...

    def action(self, value: Mapping[str, Any]) -> Action:
        """The action of a cached answer; CallError if it is unusable (empty, refused)."""
        ...

    def check(self) -> None:
        """ConfigError if something needed for sending is missing (package, key)."""
        ...

    def close(self) -> None:
        """Close connections."""
        ...
