"""Completion -> reasoning, answer, format verdict."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ekipl_lab.parsing import TAGS, Parsed, parse_completion

GOOD = "<think>Two red cubes.</think><answer>2</answer>"


def test_well_formed_completion_is_read_whole() -> None:
    assert parse_completion(GOOD) == Parsed("Two red cubes.", "2", True, "")
    spaced = " \n<think>\nTwo.\n</think>\n\n<answer> 2 </answer>\n"
    assert parse_completion(spaced) == Parsed("Two.", "2", True, "")


@pytest.mark.parametrize(
    ("text", "think", "answer", "problem"),
    [
        ("", None, None, "empty completion"),
        ("  \n", None, None, "empty completion"),
        ("2", None, None, "missing <think>"),
        ("<answer>2</answer>", None, "2", "missing <think>"),
        ("<think>a</think>", "a", None, "missing <answer>"),
        ("<think>a</think><answer>2", "a", None, "missing </answer>"),
        ("<think>a<answer>2</answer>", None, None, "missing </think>"),
        ("<think>a <answer>2</answer></think>", "a <answer>2</answer>", None, "tags out of order"),
        ("<answer>2</answer><think>a</think>", "a", None, "tags out of order"),
        ("<think>a</think></answer>2<answer>", "a", None, "tags out of order"),
        (GOOD + "<answer>3</answer>", "Two red cubes.", None, "repeated <answer>"),
        ("<think>x</think>" + GOOD, None, "2", "repeated <think>"),
        ("So: " + GOOD, "Two red cubes.", "2", "text outside the tags"),
        (GOOD + " and done", "Two red cubes.", "2", "text outside the tags"),
        ("<think>a</think> so <answer>2</answer>", "a", "2", "text outside the tags"),
        ("<think> </think><answer>2</answer>", None, "2", "empty think block"),
        ("<think>a</think><answer> </answer>", "a", None, "empty answer block"),
        ("<THINK>a</THINK><ANSWER>2</ANSWER>", None, None, "missing <think>"),
        ("</answer>2<answer>", None, None, "missing <think>"),
    ],
)
def test_every_deviation_is_named(
    text: str, think: str | None, answer: str | None, problem: str
) -> None:
    assert parse_completion(text) == Parsed(think, answer, False, problem)


@given(st.lists(st.sampled_from([*TAGS, "a", " ", "2", "\n"]), max_size=14))
def test_format_ok_means_exactly_the_one_form(parts: list[str]) -> None:
    """Against a second reading: split at the tags and compare the sequence of tags."""
    text = "".join(parts)
    tags = [part for part in parts if part in TAGS]
    pieces = "".join("\0" if part in TAGS else part for part in parts).split("\0")
    expected = tags == list(TAGS) and [bool(piece.strip()) for piece in pieces] == [
        False,
        True,
        False,
        True,
        False,
    ]
    parsed = parse_completion(text)
    assert parsed.format_ok == expected
    assert parsed.format_ok == (parsed.problem == "")
    if expected:
        assert (parsed.think, parsed.answer) == (pieces[1].strip(), pieces[3].strip())
