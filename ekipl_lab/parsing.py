"""Completion -> reasoning, answer and format verdict.

Example::

    >>> parse_completion("<think>Two red cubes.</think><answer>2</answer>")
    Parsed(think='Two red cubes.', answer='2', format_ok=True, problem='')

Strict on purpose, so that a completion cannot be read in two ways: with several answers, or with
an answer inside the reasoning, there is no answer at all. Linear in the length of the text.
"""

from __future__ import annotations

from dataclasses import dataclass

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
ANSWER_OPEN, ANSWER_CLOSE = "<answer>", "</answer>"
TAGS = (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)
#: How models end their turn, where a server does not take it off.
END_TOKENS = (
    "<|im_end|>", "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|eot|>",
    "<|end|>", "<|return|>", "<|end_of_turn|>", "<end_of_turn>", "<end_of_utterance>", "<eos>",
    "</s>", "<|user|>", "<|observation|>", "<｜end▁of▁sentence｜>",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a completion says.

    ``think`` and ``answer`` are stripped texts, None where they are absent or ambiguous.
    ``format_ok`` is True only for ``<think>...</think><answer>...</answer>`` with white space at
    most around the blocks, each tag once, both blocks with text in them. ``problem`` names the
    first thing wrong with the format; it is empty exactly when ``format_ok`` is True.
    """

    think: str | None
    answer: str | None
    format_ok: bool
    problem: str


def parse_completion(text: str) -> Parsed:
    """Read one completion; never raises.

    The answer is taken if there is exactly one answer block and it does not lie in the
    reasoning; a missing think block costs the format, not the answer.
    """
    problem = _problem(text)
    return Parsed(_think(text), _answer(text), problem == "", problem)


def without_end(text: str) -> str:
    """The text without the end tokens that stand behind it; as it is where none does."""
    end = at = len(text)
    while True:
        while at and text[at - 1].isspace():
            at -= 1
        token = next((one for one in END_TOKENS if text.endswith(one, 0, at)), "")
        if not token:
            return text if end == len(text) else text[:at]
        at = end = at - len(token)


def _problem(text: str) -> str:
    if not text.strip():
        return "empty completion"
    for tag in TAGS:
        count = text.count(tag)
        if count != 1:
            return f"missing {tag}" if count == 0 else f"repeated {tag}"
    start, think_end, answer_start, end = (text.find(tag) for tag in TAGS)
    if not start < think_end < answer_start < end:
        return "tags out of order"
    outside = (
        text[:start],
        text[think_end + len(THINK_CLOSE) : answer_start],
        text[end + len(ANSWER_CLOSE) :],
    )
    if any(part.strip() for part in outside):
        return "text outside the tags"
    if _think(text) is None:
        return "empty think block"
    return "" if _answer(text) is not None else "empty answer block"


def _block(text: str, opening: str, closing: str) -> str | None:
    """The stripped text of the only such block, None if absent, repeated, unclosed or empty."""
    if text.count(opening) != 1 or text.count(closing) != 1:
        return None
    start, end = text.find(opening) + len(opening), text.find(closing)
    return text[start:end].strip() or None if start <= end else None


def _think(text: str) -> str | None:
    return _block(text, THINK_OPEN, THINK_CLOSE)


def _answer(text: str) -> str | None:
    at = text.find(ANSWER_OPEN)
    if at < max(text.rfind(THINK_OPEN), text.rfind(THINK_CLOSE)):
        return None
    if text.count(THINK_OPEN) > text.count(THINK_CLOSE):
        return None
    return _block(text, ANSWER_OPEN, ANSWER_CLOSE)
