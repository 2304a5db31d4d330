"""What the chat APIs say, in the shapes that servers give it: words, thoughts, counts of tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from typing import Any

#: Where the parts of a message keep their words, by the names that servers use.
_WORDS = ("text", "thinking", "reasoning", "thought", "summary", "content", "value", "parts")
_THOUGHT = re.compile("think|thought|reason|analysis")
#: Types and channels of parts that are the answer; any other (a citation, a tool's result) is not.
_SPEECH = ("None", "text", "output_text", "message", "final", "final_answer", "answer")


def spoken(content: Any) -> tuple[str, str]:
    """Text and reasoning of a message's content: a text, or parts of any shape, nested ones too.

    A part's words stand under one of `_WORDS` or the name of its type. A part that is neither
    speech nor a thought (a citation, a tool's result, a refusal, a picture) is passed over.
    """
    if isinstance(content, str):
        return content, ""
    texts: list[str] = []
    thoughts: list[str] = []
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str | list):
            inside = spoken(part)
            texts.append(inside[0])
            thoughts.append(inside[1])
        elif isinstance(part, Mapping):
            kind, channel = str(part.get("type")), str(part.get("channel"))
            words = next((part[n] for n in (*_WORDS, kind) if part.get(n)), "")
            if part.get("thought") or _THOUGHT.search(f"{kind} {channel}"):
                thoughts.append(_all_words(words))
            elif kind in _SPEECH and channel in _SPEECH:
                inside = spoken(words)
                texts.append(inside[0])
                thoughts.append(inside[1])
    return "".join(texts), "\n".join(filter(None, thoughts))


def _all_words(content: Any) -> str:
    """The words of a thought, whatever the types of its parts."""
    if isinstance(content, list):
        return "".join(map(_all_words, content))
    if isinstance(content, Mapping):
        return _all_words(next((content[name] for name in _WORDS if content.get(name)), ""))
    return content if isinstance(content, str) else ""


def tokens(usage: Any, *names: str) -> int | None:
    """The sum of counts in what a server says of its usage; None where it says nothing readable.

    -1 where one of them cannot be: below zero, a truth value, a fraction. The gateway marks it.
    """
    said = [usage.get(name) for name in names] if isinstance(usage, Mapping) else []
    counts = [one for one in said if isinstance(one, int | float) and isfinite(one)]
    if any(isinstance(one, bool) or one < 0 or one != int(one) for one in counts):
        return -1
    return sum(map(int, counts)) if counts else None
