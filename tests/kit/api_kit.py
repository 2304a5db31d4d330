"""What the tests of API teachers share: samples that show a swap, specs that talk to loopback."""

import json
import os
from pathlib import Path
from typing import Any

from fault_server import painted_image

from ekipl_lab.teachers.adapters.anthropic import AnthropicAdapter, AnthropicSpec
from ekipl_lab.teachers.adapters.gemini import GeminiAdapter, GeminiSpec
from ekipl_lab.teachers.adapters.openai_compatible import OpenAIAdapter, OpenAISpec
from ekipl_lab.teachers.gateway.gateway import Gateway
from ekipl_lab.teachers.gateway.spec import GatewaySpec
from ekipl_lab.types import GenerationParams, Sample

KEY = "sk-test-5f1c0ffee5f1c0ffee"
KEY_ENV = "EKIPL_TEST_KEY"
PARAMS = GenerationParams(temperature=1.0, max_new_tokens=32)

KINDS: dict[str, Any] = {
    "openai": (OpenAISpec, OpenAIAdapter, "/v1"),
    "anthropic": (AnthropicSpec, AnthropicAdapter, "/v1"),
    "gemini": (GeminiSpec, GeminiAdapter, "/v1beta"),
}


def numbered(number: int, images: int = 1, **fields: Any) -> Sample:
    """Question and images carry the number; so does the answer, which no prompt may hold."""
    settings: dict[str, Any] = {
        "id": f"test/s{number}",
        "task": "t",
        "split": "train",
        "images": tuple(painted_image(number + 1000 * i) for i in range(images)),
        "question": f"Question {number}?",
        "answer": str(number),
        "answer_type": "number",
    }
    return Sample(**settings | fields)


def evidence(proof: str, **figures: Any) -> None:
    """Print what a proof measured, and append it to the file that EKIPL_EVIDENCE names, if any."""
    line = json.dumps({"proof": proof, **figures})
    print(line)
    if os.environ.get("EKIPL_EVIDENCE"):
        with Path(os.environ["EKIPL_EVIDENCE"]).open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")


def gateway_spec(folder: Path, **settings: Any) -> GatewaySpec:
    quick = {"backoff": 0.01, "timeout": 5.0, "retries": 8, "reask": 3}
    return GatewaySpec(cache=folder / "store.sqlite3", **quick | settings)


def api_gateway(
    url: str,
    folder: Path,
    kind: str = "openai",
    *,
    spec: dict[str, Any] | None = None,
    **gateway: Any,
) -> Gateway:
    """A gateway to a server at ``url``; ``gateway`` are settings of its block."""
    spec_class, adapter_class, path = KINDS[kind]
    block = gateway_spec(folder, **gateway)
    settings = {"id": "t", "model": "m", "base_url": url + path, "gateway": block, **(spec or {})}
    return Gateway(adapter_class(spec_class(**settings)), block)
