"""What an API teacher is asked: exact request bodies, and never the ground truth."""

import json
from pathlib import Path
from typing import Any

import pytest
from api_kit import KINDS, PARAMS, gateway_spec, numbered
from fault_server import painted_number, read_prompt

from ekipl_lab.errors import ConfigError
from ekipl_lab.images import png_base64
from ekipl_lab.teachers.adapters.chat import teacher_messages
from ekipl_lab.teachers.gateway.types import image_digest

SECRET = "TRUTH-7e1d"


def adapter(kind: str, folder: Path, **settings: Any) -> Any:
    spec_class, adapter_class, path = KINDS[kind]
    base = {"id": "t", "model": "m/1", "base_url": "http://127.0.0.1:9" + path}
    return adapter_class(spec_class(**base | {"gateway": gateway_spec(folder)} | settings))


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("answer_type", ["number", "letter", "text", "calls", "math", "numbers"])
@pytest.mark.parametrize("benchmark", ["mini/x", "test"])
def test_the_ground_truth_never_enters_a_prompt(
    tmp_path: Path, kind: str, answer_type: str, benchmark: str
) -> None:
    sample = numbered(
        1,
        id=f"{benchmark}/s1",
        answer=SECRET,
        answer_type=answer_type,
        cot=f"<think>{SECRET}</think>",
        choices=("one", "two"),
        metadata={"scene": SECRET, SECRET: 1},
        family=f"f{SECRET}",
    )
    blank = numbered(
        1, id=f"{benchmark}/s2", answer="", answer_type=answer_type, choices=("one", "two")
    )
    teacher = adapter(kind, tmp_path, instruction="Look well.")
    call, other = teacher.call(sample, PARAMS), teacher.call(blank, PARAMS)
    body = teacher.body(call, 1)
    assert SECRET not in json.dumps(body) + json.dumps(call.parts())
    assert "Question 1?" in json.dumps(body) and "<answer>" in json.dumps(body)
    assert body == teacher.body(other, 1)
    assert call.parts() == other.parts()
    hinted = adapter(kind, tmp_path, prompt="hint")
    assert f"known to be: {SECRET}" in json.dumps(hinted.body(hinted.call(sample, PARAMS), 1))


def text_of(sample: Any) -> str:
    (message,) = teacher_messages(sample)
    text = message["content"][-1]["text"]
    assert isinstance(text, str)
    return text


def test_the_body_for_openai_compatible_servers(tmp_path: Path) -> None:
    sample = numbered(5, images=2)
    teacher = adapter(
        "openai",
        tmp_path,
        instruction="Be brief.",
        temperature=0.5,
        max_tokens=99,
        logprobs=True,
        image_detail="low",
        extra_body={"seed": 3},
    )
    pngs = [png_base64(image) for image in sample.images]
    assert teacher.body(teacher.call(sample, PARAMS), 3) == {
        "model": "m/1",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    *(
                        {
                            "type": "image_url",
                            "image_url": {"url": f"data:image/png;base64,{png}", "detail": "low"},
                        }
                        for png in pngs
                    ),
                    {"type": "text", "text": text_of(sample)},
                ],
            },
        ],
        "temperature": 0.5,
        "top_p": 1.0,
        "max_tokens": 99,
        "n": 3,
        "logprobs": True,
        "seed": 3,
    }
    assert teacher.path(None) == "/chat/completions"


def test_openai_itself_wants_another_name_for_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = adapter("openai", tmp_path, base_url=None)
    body = teacher.body(teacher.call(numbered(1), PARAMS), 1)
    assert body["max_completion_tokens"] == 32
    assert not {"max_tokens", "n", "logprobs"} & body.keys()


def test_the_body_for_anthropic(tmp_path: Path) -> None:
    sample = numbered(5)
    teacher = adapter("anthropic", tmp_path, instruction="Be brief.", temperature=1.3)
    source = {"type": "base64", "media_type": "image/png", "data": png_base64(sample.images[0])}
    assert teacher.body(teacher.call(sample, PARAMS), 1) == {
        "model": "m/1",
        "max_tokens": 32,
        "system": "Be brief.",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": source},
                    {"type": "text", "text": text_of(sample)},
                ],
            }
        ],
        "temperature": 1.0,
    }
    nucleus = adapter("anthropic", tmp_path, top_p=0.9)
    assert nucleus.body(nucleus.call(sample, PARAMS), 1)["top_p"] == 0.9
    thinking = {"type": "enabled", "budget_tokens": 1024}
    thinker = adapter("anthropic", tmp_path, extra_body={"thinking": thinking})
    body = thinker.body(thinker.call(sample, PARAMS), 1)
    assert body["thinking"] == thinking and "temperature" not in body


def test_the_body_for_gemini(tmp_path: Path) -> None:
    sample = numbered(5)
    teacher = adapter(
        "gemini",
        tmp_path,
        instruction="Be brief.",
        extra_body={"generationConfig": {"thinkingConfig": {"includeThoughts": True}}},
    )
    data = {"mimeType": "image/png", "data": png_base64(sample.images[0])}
    assert teacher.body(teacher.call(sample, PARAMS), 1) == {
        "contents": [{"role": "user", "parts": [{"inlineData": data}, {"text": text_of(sample)}]}],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "generationConfig": {
            "temperature": 1.0,
            "topP": 1.0,
            "maxOutputTokens": 32,
            "thinkingConfig": {"includeThoughts": True},
        },
    }
    assert teacher.path(teacher.call(sample, PARAMS)) == "/models/m%2F1:generateContent"


@pytest.mark.parametrize("kind", list(KINDS))
def test_images_arrive_pixel_by_pixel_and_in_order(tmp_path: Path, kind: str) -> None:
    teacher = adapter(kind, tmp_path)
    sample = numbered(70_000, images=3)
    assert read_prompt(teacher.body(teacher.call(sample, PARAMS), 1)) == (
        70_000,
        [70_000, 71_000, 72_000],
    )


def test_an_image_is_known_by_its_pixels() -> None:
    from PIL import Image

    red = Image.new("RGB", (2, 1), (255, 0, 0))
    assert image_digest(red) == image_digest(red.convert("RGBA"))
    assert image_digest(red) != image_digest(red.resize((1, 2)))
    assert painted_number(b64(png_base64(red))) == 255 << 16


def b64(text: str) -> bytes:
    import base64

    return base64.b64decode(text)


def test_a_teacher_that_takes_one_image_says_so(tmp_path: Path) -> None:
    from ekipl_lab.types import Capabilities

    teacher = adapter("openai", tmp_path)
    teacher.capabilities = Capabilities(several_images=False)
    with pytest.raises(ConfigError, match=r"'t' takes one image; test/s1 has several"):
        teacher.call(numbered(1, images=2), PARAMS)
