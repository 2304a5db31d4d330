"""Near-misses of the form ``<think>...</think><answer>...</answer>``, brought to it.

A repair changes tags and white space, never the words between them, and never invents an answer:
the answer of a repaired text is a contiguous part of what the teacher wrote. A text that is well
formed stays as it is, one that is ambiguous (two answers, an answer within the reasoning) stays
wrong. Repairs, by name, in the order they are tried:

- `end_token`: end tokens behind the text (`<|im_end|>`, `</s>`) are taken off, whatever the rest;
- `begin_token`: what a template puts before a turn (a byte order mark, `<s>`,
  `<|im_start|>assistant`) is taken off;
- `fence`: code fences around the whole text are taken off;
- `marks`: raw reasoning of a model's own form (`[THINK]...[/THINK]`, harmony's analysis channel)
  goes into `<think>`;
- `tags`: `< Think >`, `<thinking>`, `<reasoning>`, `<final_answer>` become `<think>`, `<answer>`;
- `open_think`: a lone `</think>` gets its `<think>` (the server's template had opened the block);
- `last_line`: no answer tag, and the last line is `Answer: 5` or `Final answer: 5`: it becomes
  `<answer>5</answer>`;
- `close_answer`: a text that ended by itself within one line of answer gets its `</answer>`;
- `wrap_think`: words before `<answer>`, without any think tag, go into `<think>`;
- `close_think`: `<think>` that is never closed before `<answer>` gets its `</think>`.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from ekipl_lab.parsing import (
    ANSWER_CLOSE,
    ANSWER_OPEN,
    TAGS,
    THINK_CLOSE,
    THINK_OPEN,
    parse_completion,
    without_end,
)
from ekipl_lab.types import Action

log = logging.getLogger("ekipl_lab.teachers")

_NAMES = {
    "think": "think",
    "thinking": "think",
    "thought": "think",
    "reasoning": "think",
    "answer": "answer",
    "final_answer": "answer",
    "finalanswer": "answer",
}
_TAG = re.compile(rf"<[ \t]{{0,3}}(/?)[ \t]{{0,3}}({'|'.join(_NAMES)})[ \t]{{0,3}}>", re.IGNORECASE)
#: What a chat template leaves of a block whose words stand in the reasoning field.
_EMPTY_THINK = re.compile(r"\A\s*(<think>\s*)?</think>")
#: How templates open the assistant's turn, where a server does not take it off.
_BEGIN = re.compile(
    r"\A(?:\s|\ufeff|<s>|<bos>|<\|startoftext\|>|<\|begin_of_text\|>|<｜begin▁of▁sentence｜>"
    r"|<\|im_start\|>assistant\b|<\|start_header_id\|>assistant<\|end_header_id\|>"
    r"|<start_of_turn>model\b|<\|assistant\|>|<｜Assistant｜>|assistant:?\n)+",
    re.IGNORECASE,
)
_FENCE = re.compile(r"\A\s*```[A-Za-z]*\n(.*)\n```\s*\Z", re.DOTALL)
#: How models mark their thoughts, where a server does not take that apart; harmony's channels.
_MARKS = {
    "[THINK]": "[/THINK]",
    "◁think▷": "◁/think▷",
    "<seed:think>": "</seed:think>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|START_THINKING|>": "<|END_THINKING|>",
}
_CHANNEL = re.compile(r"(?:<\|start\|>assistant)?<\|channel\|>\s*(\w+)\s*<\|message\|>")
_LAST_LINE = re.compile(
    r"\A(\*\*|#+ ?)?(the )?(final )?answer( is)?\s*:\s*(\*\*)?\s*(?P<answer>[^\n]+?)\s*(\*\*)?\Z",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Repaired:
    """A completion and the names of the repairs that made it."""

    completion: str
    repairs: tuple[str, ...] = ()


def repair(text: str, *, finished: bool = True) -> Repaired:
    """Bring a near-miss to the form; pure, and a second repair changes nothing.

    ``finished`` is False for a text that was cut off: its open answer is not closed. If the repairs
    do not lead to a well-formed completion, the text is returned as it was but for its end token.
    """
    ended = without_end(text)
    names = [] if ended == text else ["end_token"]
    if parse_completion(ended).format_ok:
        return Repaired(ended, tuple(names))
    current, ending = ended, tuple(names)
    for name, step in _STEPS.items():
        if name == "close_answer" and not finished:
            continue
        changed = step(current)
        if changed != current:
            current = changed
            names.append(name)
    if not parse_completion(current).format_ok or _unread(current):
        return Repaired(ended, ending)
    return Repaired(current, tuple(names))


def repaired(action: Action) -> Action:
    """The action brought to the form; its tokens are kept only if nothing had to be changed."""
    fixed = repair(action.completion, finished=action.finish_reason == "stop")
    if not fixed.repairs:
        return action
    text = fixed.completion
    if fixed.repairs[0] == "end_token":
        token = action.completion[len(without_end(action.completion)) :].strip()
        _say_end_token(action.source, token[:40])
    return replace(action, completion=text, token_ids=None, logprobs=None, tokenizer_id=None)


@functools.cache
def _say_end_token(source: str, token: str) -> None:
    """Once for each: it is a setting of the server."""
    log.warning(
        "%s: a reply ends in %r, which is taken off; let the server skip special tokens",
        source, token,
    )  # fmt: skip


def with_reasoning(text: str, reasoning: str) -> str:
    """Map an API's own reasoning field into ``<think>``, unless the text has a think block that
    holds a word, under whatever name.

    A server that puts the whole completion into that field is taken at its word; beside a text of
    its own, tags in the reasoning mean nothing and are taken out, with no word between them.
    """
    thought = _TAG.sub("", reasoning).strip()
    if not thought:
        return text
    text = _EMPTY_THINK.sub("", text)
    if THINK_OPEN in _tags(text) or THINK_CLOSE in _tags(text):
        return text
    if not text.strip() and ANSWER_OPEN in _tags(reasoning):
        return reasoning
    return f"{THINK_OPEN}{thought}{THINK_CLOSE}{text.strip()}"


def _begin(text: str) -> str:
    match = _BEGIN.match(text)
    return text[match.end() :] if match and match[0].strip() else text


def _fence(text: str) -> str:
    match = _FENCE.match(text)
    return match[1] if match else text


def _marks(text: str) -> str:
    for opening, closing in _MARKS.items():
        thought, found, rest = text.partition(closing)
        if found:
            return with_reasoning(rest, thought.strip().removeprefix(opening))
    head, *parts = _CHANNEL.split(text)
    names, words = parts[::2], [part.strip().removesuffix("<|end|>") for part in parts[1::2]]
    if head.strip() or not names or names != ["analysis"] * (len(names) - 1) + ["final"]:
        return text
    return with_reasoning(words[-1], "\n".join(words[:-1]))


def _unread(text: str) -> bool:
    """Whether marks of raw reasoning, which are no words, are left."""
    return "<|channel|>" in text or any(mark in text for pair in _MARKS.items() for mark in pair)


def _tags(text: str) -> str:
    return _TAG.sub(lambda match: f"<{match[1]}{_NAMES[match[2].lower()]}>", text)


def _open_think(text: str) -> str:
    if THINK_OPEN in text or text.count(THINK_CLOSE) != 1:
        return text
    return THINK_OPEN + text


def _last_line(text: str) -> str:
    if ANSWER_OPEN in text or ANSWER_CLOSE in text:
        return text
    thought, closed, rest = text.rstrip().rpartition(THINK_CLOSE)
    body, _, last = rest.rpartition("\n")
    body = thought + closed + body
    match = _LAST_LINE.match(last.strip())
    if not match or (THINK_OPEN in text and THINK_CLOSE not in body):
        return text
    return f"{body}\n{ANSWER_OPEN}{match['answer']}{ANSWER_CLOSE}"


def _close_answer(text: str) -> str:
    _, opened, answer = text.partition(ANSWER_OPEN)
    if not opened or any(tag in answer for tag in TAGS) or "\n" in answer.strip():
        return text
    return text.rstrip() + ANSWER_CLOSE


def _wrap_think(text: str) -> str:
    before, opened, rest = text.partition(ANSWER_OPEN)
    if not opened or THINK_OPEN in text or THINK_CLOSE in text or not before.strip():
        return text
    return f"{THINK_OPEN}{before.strip()}{THINK_CLOSE}{opened}{rest}"


def _close_think(text: str) -> str:
    before, opened, rest = text.partition(ANSWER_OPEN)
    if not opened or text.count(THINK_OPEN) != 1 or THINK_CLOSE in text:
        return text
    return f"{before.rstrip()}{THINK_CLOSE}{opened}{rest}"


_STEPS: dict[str, Callable[[str], str]] = {
    "begin_token": _begin,
    "fence": _fence,
    "marks": _marks,
    "tags": _tags,
    "open_think": _open_think,
    "last_line": _last_line,
    "close_answer": _close_answer,
    "wrap_think": _wrap_think,
    "close_think": _close_think,
}
