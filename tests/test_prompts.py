"""Sample -> chat messages; the ground truth stays out of them."""

from dataclasses import replace

import pytest
from PIL import Image

from ekipl_lab import prompts
from ekipl_lab.types import Sample

IMAGE = Image.new("RGB", (8, 8))


def make_sample(**changes: object) -> Sample:
    sample = Sample(
        id="own/counting/test/1",
        task="counting",
        split="test",
        images=(IMAGE,),
        question="How many cubes are there?",
        answer="zebra-7",
        answer_type="number",
        cot="giraffe-8",
        metadata={"scene": "lion-9"},
    )
    return replace(sample, **changes)  # type: ignore[arg-type]


def test_images_come_first_one_entry_each() -> None:
    (message,) = prompts.build_messages(make_sample(images=(IMAGE, IMAGE)))
    assert message["role"] == "user"
    assert [part["type"] for part in message["content"]] == ["image", "image", "text"]


def test_the_built_in_benchmark_asks_the_bare_question() -> None:
    sample = make_sample(id="mini/counting/test/s0/000001")
    assert prompts.prompt_text(sample) == "How many cubes are there?"


@pytest.mark.parametrize("answer_type", ["number", "numbers", "letter", "text", "calls", "math"])
def test_ground_truth_chain_and_metadata_never_enter_a_prompt(answer_type: str) -> None:
    sample = make_sample(answer_type=answer_type)
    text = prompts.prompt_text(sample)
    assert "How many cubes" in text and "<think>" in text and "<answer>" in text
    for secret in ("zebra", "giraffe", "lion"):
        assert secret not in text
    other = replace(sample, answer="other", cot=None, metadata={}, difficulty=3)
    assert prompts.build_messages(other) == prompts.build_messages(sample)


def test_transformation_prompt_lists_every_function_and_value() -> None:
    text = prompts.prompt_text(make_sample(answer_type="calls"))
    for word in ("change_position", "behind_right", "change_color", "purple", "cylinder", "1 to 4"):
        assert word in text


def test_choices_are_lettered_unless_the_question_shows_them() -> None:
    asked = make_sample(answer_type="letter", choices=("30", "60"))
    assert "How many cubes are there?\nA. 30\nB. 60" in prompts.prompt_text(asked)
    shown = replace(asked, question="Which? A. 30 B. 60")
    assert prompts.prompt_text(shown).count("60") == 1


def test_fingerprint_changes_with_the_wording(monkeypatch: pytest.MonkeyPatch) -> None:
    before = prompts.prompt_fingerprint()
    assert len(before) == 16 and before == prompts.prompt_fingerprint()
    monkeypatch.setitem(prompts.ANSWER_FORMS, "number", "Give one number.")
    assert prompts.prompt_fingerprint() != before
