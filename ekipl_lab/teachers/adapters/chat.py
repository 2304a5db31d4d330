"""What all chat APIs share: the prompt of a teacher, its images, and the way to an action.

A new adapter is one file: subclass ``ChatAdapter``, say where to post (``path``), what
(``body``), and how to read the answer (``read``). ``docs/extend/teacher.md`` shows one.

The ground truth never enters a prompt, but in the mode named ``hint``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from ekipl_lab.errors import ConfigError
from ekipl_lab.images import png_base64
from ekipl_lab.parsing import without_end
from ekipl_lab.prompts import PROMPT_VERSION, content_of, instructed_text
from ekipl_lab.secrets import holds_key, refuse_secrets
from ekipl_lab.teachers.adapters.http import (
    ApiKey,
    JsonClient,
    check_base_url,
    error_text,
    is_loopback,
)
from ekipl_lab.teachers.gateway.gateway import Gateway
from ekipl_lab.teachers.gateway.spec import GatewaySpec
from ekipl_lab.teachers.gateway.types import Adapter, Call, CallError, Reply
from ekipl_lab.teachers.repair import repaired, with_reasoning
from ekipl_lab.teachers.spec import TeacherContext, TeacherSpecBase
from ekipl_lab.types import Action, Capabilities, GenerationParams, Sample, Usage
from ekipl_lab.validation import MOST_TEMPERATURE, Temperature

if TYPE_CHECKING:
    pass

PromptMode = Literal["plain", "hint"]
AdapterClass: TypeAlias = "type[ChatAdapter]"

#: Raise it with every change of wording in this file.
CHAT_VERSION = "1"

_HINT = (
    "The right final answer is known to be: {answer}\nWrite reasoning that leads to it from what "
    "is seen, without saying that it was given."
)


class Address(TeacherSpecBase):
    """Where a teacher is reached, and the name of the environment variable that holds its key.

    ``api_key_env`` takes capitals, digits and underscores, so that a key put there by mistake is
    refused, and an address that holds a secret is too, before any setting is printed or logged.
    """

    base_url: str | None = None
    api_key_env: str | None = Field(default=None, pattern=r"^[A-Z_][A-Z0-9_]*$")

    @model_validator(mode="after")
    def _safe_address(self) -> Self:
        if self.base_url is not None:
            check_base_url(self.base_url, self.id, has_key=self.api_key_env is not None)
        if self.api_key_env is not None:
            holds_key(self.api_key_env)
            refuse_secrets(f"the settings of teacher {self.id!r}", self.model_dump_json())
        return self


class ApiSpec(Address):
    """Settings of every teacher behind an HTTP API.

    ``temperature``, ``top_p`` and ``max_tokens`` default to those the caller samples with.
    ``instruction`` is a system message of your own. ``prompt: hint`` shows the teacher the right
    answer. A subclass names its ``type`` and its ``adapter``.
    """

    adapter: ClassVar[AdapterClass]

    model: str = Field(min_length=1)
    temperature: Temperature | None = Field(default=None, ge=0.0, le=MOST_TEMPERATURE)
    top_p: float | None = Field(default=None, gt=0.0, le=1.0)
    max_tokens: int | None = Field(default=None, ge=1)
    instruction: str = ""
    prompt: PromptMode = "plain"
    repair: bool = True
    extra_body: dict[str, Any] = Field(default_factory=dict)
    gateway: GatewaySpec = GatewaySpec()

    def build(self, context: TeacherContext) -> Gateway:
        """Its gateway; ConfigError for a bad URL, a missing key, extra or price."""
        return Gateway(self.adapter(self), self.gateway)


def teacher_messages(
    sample: Sample, *, mode: PromptMode = "plain", instruction: str = ""
) -> list[dict[str, Any]]:
    """Chat messages for a teacher: the images, question and form of the answer.

    Contents are lists of ``{"type": "image"}`` and ``{"type": "text", "text": ...}``.
    """
    text = instructed_text(sample)
    if mode == "hint":
        text = f"{text}\n\n{_HINT.format(answer=sample.answer)}"
    user = {"role": "user", "content": content_of(sample, text)}
    if not instruction:
        return [user]
    return [{"role": "system", "content": [{"type": "text", "text": instruction}]}, user]


def prompt_parts(
    call: Call,
    *,
    image: Callable[[str], Any],
    text: Callable[[str], Any] = lambda text: {"type": "text", "text": text},
) -> tuple[str, list[Any]]:
    """The instruction (empty: none) and the parts of the question, in order.

    ``image`` makes a part of a PNG in base64, ``text`` makes one of words.
    """
    images, system, parts = iter(call.images), "", []
    for message in call.messages:
        for part in message["content"]:
            if message["role"] == "system":
                system = part["text"]
            elif part["type"] == "image":
                parts.append(image(png_base64(next(images))))
            else:
                parts.append(text(part["text"]))
    return system, parts


class ChatAdapter(Adapter):
    """Base of the HTTP adapters; see the module's docstring. ``Adapter`` says what a method does.

    ``default_url`` and ``key`` (where its key is by default, and how it is sent) are the
    provider's own. A key of the default variable is sent to the default URL only. ``settings`` is
    the model of its settings where it is named by `type: python`.
    """

    settings: ClassVar[type[ApiSpec]] = ApiSpec

    provider = ""
    default_url = ""
    key = ApiKey("", "authorization", "Bearer ")
    headers: Mapping[str, str] = {}
    max_choices = 1
    capabilities = Capabilities()

    def __init__(self, spec: ApiSpec) -> None:
        self.spec, self.id, self.model = spec, spec.id, spec.model
        url = spec.base_url or self.default_url
        env = spec.api_key_env or (self.key.env if spec.base_url is None else None)
        key = ApiKey(env, self.key.header, self.key.prefix) if env else None
        self._client = JsonClient(url, spec.id, key, self.headers)
        self.base_url, self.local = self._client.base_url, is_loopback(url)

    def path(self, call: Call) -> str:
        """Where to post, below the base URL."""
        raise NotImplementedError

    def body(self, call: Call, choices: int) -> dict[str, Any]:
        """The request's JSON."""
        raise NotImplementedError

    def read(self, answer: Mapping[str, Any]) -> Reply:
        """The reply in the answer's JSON; KeyError, TypeError or the like if it is no such."""
        raise NotImplementedError

    def call(self, sample: Sample, params: GenerationParams) -> Call:
        spec = self.spec
        if not self.capabilities.several_images and len(sample.images) > 1:
            raise ConfigError(f"Teacher {self.id!r} takes one image; {sample.id} has several.")
        parameters: dict[str, Any] = {
            "temperature": params.temperature if spec.temperature is None else spec.temperature,
            "top_p": params.top_p if spec.top_p is None else spec.top_p,
            **({"extra_body": spec.extra_body} if spec.extra_body else {}),
            **self.own_parameters(),
        }
        if spec.gateway.fresh_draws and params.seed is not None:
            parameters["draw"] = params.seed
        return Call(
            sample_id=sample.id,
            provider=self.provider,
            model=self.model,
            base_url=self.base_url,
            messages=teacher_messages(sample, mode=spec.prompt, instruction=spec.instruction),
            images=sample.images,
            parameters=parameters,
            prompt_version=f"{PROMPT_VERSION}.{CHAT_VERSION}",
            max_tokens=spec.max_tokens or params.max_new_tokens,
        )

    def own_parameters(self) -> dict[str, Any]:
        """Parameters of this provider alone that change the answer."""
        return {}

    def send(self, call: Call, choices: int, timeout: float) -> Reply:
        answer = self._client.post(self.path(call), self.body(call, choices), timeout)
        said, _ = error_text(answer.get("error"))
        if said:  # routers say so with status 200
            raise CallError("server", f"HTTP 200: {said}")
        try:
            reply = self.read(answer)
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            problem = f"the answer has not the form of {self.provider} ({type(error).__name__})"
        else:
            if reply.choices:
                return reply
            problem = "the answer holds no choice"
        raise CallError("schema", problem)

    def action(self, value: Mapping[str, Any]) -> Action:
        return to_action(
            value, self.id, repairing=self.spec.repair, tokenizer_id=self.capabilities.tokenizer_id
        )

    def check(self) -> None:
        self._client.check()

    def close(self) -> None:
        self._client.close()


def to_action(
    value: Mapping[str, Any], teacher: str, *, repairing: bool, tokenizer_id: str | None = None
) -> Action:
    """The action of a cached answer.

    Reasoning fields go into ``<think>``; near-misses are repaired (``repair``). Log-probabilities
    and token ids are kept only while the completion is what the server sent, unchanged.
    """
    choice, usage = value["choice"], value["usage"]
    if choice["refusal"] is not None or choice["finish_reason"] == "refusal":
        said = (choice["refusal"] or choice["text"]).strip()[:80]
        raise CallError("refusal", f"the model refused ({said!r})", retryable=False)
    text = with_reasoning(choice["text"], choice["reasoning"])
    if not (without_end(text) if repairing else text).strip():
        raise CallError("empty", "the model answered nothing", retryable=False)
    same = text == choice["text"]
    logprobs, token_ids = choice["logprobs"], choice["token_ids"]
    action = Action(
        completion=text,
        source=teacher,
        model_id=value["model"],
        token_ids=tuple(token_ids) if same and token_ids else None,
        logprobs=tuple(logprobs) if same and logprobs else None,
        tokenizer_id=tokenizer_id if same and token_ids else None,
        finish_reason="stop" if choice["finish_reason"] == "stop" else "length",
        usage=Usage(
            prompt_tokens=usage["prompt"],
            completion_tokens=usage["completion"],
            cost=value["cost"],
            latency=value["latency"],
        ),
    )
    return repaired(action) if repairing else action
