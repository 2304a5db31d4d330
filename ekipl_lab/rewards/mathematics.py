"""Mathematical answers by math-verify, with a time limit that holds in any thread or process.

math-verify's own timeouts use signals: they raise outside the main thread and do not stop C code.
Here both are off, and the comparison runs in a small worker process that is ended when it takes
too long. CPU time is limited, not wall time, so the verdict does not depend on the machine's load.
"""

from __future__ import annotations

import atexit
import json
import os
import queue
import re
import subprocess
import sys
import threading
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from ekipl_lab.errors import RewardError
from ekipl_lab.rewards.expression import enclosure, in_order, one_expression, truth_fault, unread
from ekipl_lab.rewards.matchers import (
    CURRENCY,
    RIGHT,
    Match,
    Truth,
    read_number,
    tolerance_of,
)
from ekipl_lab.rewards.plain import as_latex, plain, unnamed
from ekipl_lab.rewards.units import split_unit

MAX_MATH_CHARS = 500
#: Wall time for a reply and for the start: backstops that a busy machine must not reach.
WALL_SECONDS, START_SECONDS = 120.0, 600.0


class MathWorker:
    """One worker process, started at the first question and again after it had to be ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._replies: queue.Queue[str] = queue.Queue()

    def ask(self, request: dict[str, str]) -> bool | None:
        """The worker's verdict, or None where it ran out of time or memory."""
        with self._lock:
            try:
                self._send(request)
            except OSError:  # it was ended from outside just now
                self._stop()
                self._send(request)
            reply = self._reply(WALL_SECONDS)
            if reply is None:
                self._stop()
            return None if reply is None or "error" in reply else bool(reply["ok"])

    def close(self) -> None:
        """End the worker; the next question starts a new one."""
        with self._lock:
            self._stop()

    def _send(self, request: dict[str, str]) -> None:
        process = self._running()
        assert process.stdin is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._stop()
            self._process = _start_worker()
            self._replies = queue.Queue()
            assert self._process.stdout is not None
            threading.Thread(
                target=_pump, args=(self._process.stdout, self._replies), daemon=True
            ).start()
            if self._reply(START_SECONDS) is None:
                self._stop()
                raise RewardError("The math-verify worker did not start; reinstall math-verify.")
        return self._process

    def _reply(self, seconds: float) -> dict[str, Any] | None:
        try:
            line = self._replies.get(timeout=seconds)
        except queue.Empty:
            return None
        return dict(json.loads(line)) if line else None

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue


def _start_worker() -> subprocess.Popen[str]:
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        [sys.executable, "-m", "ekipl_lab.rewards.math_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": path},
    )


def _pump(lines: IO[str], replies: queue.Queue[str]) -> None:
    """Hand every line on; an empty string means that the worker has ended."""
    try:
        for line in lines:
            replies.put(line)
    except ValueError:
        pass
    replies.put("")


_worker = MathWorker()
atexit.register(lambda: _worker.close())


def _new_worker_after_fork() -> None:
    global _worker
    _worker = MathWorker()
    _equal.cache_clear()


@lru_cache(maxsize=4096)
def _equal(gold: str, text: str, compare: str) -> bool | None:
    return _worker.ask({"gold": gold, "text": text, "compare": compare})


@lru_cache(maxsize=4096)
def _readable(text: str, compare: str = "published") -> bool | None:
    return _worker.ask({"parse": text, "compare": compare})


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_worker_after_fork)


def math_equal(gold: str, text: str, *, relative: bool = False) -> bool | None:
    """Whether math-verify holds the two texts equal; None where it ran out of time or memory.

    It rounds to six decimals, to which all small numbers are equal; with ``relative`` the two must
    also be near in proportion to their size (``math_worker.py``).
    """
    compare = "relative" if relative else "published"
    if max(len(gold), len(text)) > MAX_MATH_CHARS:
        return _worker.ask({"gold": gold, "text": text, "compare": compare})
    return _equal(gold, text, compare)


def match_math(answer: str, truth: Truth) -> Match:
    """Right if the plain strings or the numbers are equal, or math-verify says so.

    None where that takes too long. An answer is one expression. Several (in dollars, in more
    commas than the truth has, side by side, or as an equation beyond ``x = ...``) are refused,
    because math-verify would take one of them, or their product; so are relations and arrows that
    the truth has not. A date as the truth is an error: it would be a difference of numbers.
    """
    if not truth.text.strip() or len(truth.text) > MAX_MATH_CHARS:
        raise RewardError(f"ground truth must have 1 to {MAX_MATH_CHARS} characters")
    if _DATE.fullmatch(plain(truth.text)):
        raise RewardError(f"ground truth {truth.text!r} is a date, not a mathematical expression")
    if _time(truth.text):
        return RIGHT if _time(answer) == _time(truth.text) else Match(0.0, "another time")
    gold, wanted = _as_math(CURRENCY.sub(r"\1\3", truth.text), truth.unit, letters=False)
    if gold is None or not _readable(gold):
        raise RewardError(f"ground truth {truth.text!r} is not a mathematical expression")
    if plain(answer) == plain(truth.text):
        return RIGHT
    if len(answer) > MAX_MATH_CHARS:
        return Match(0.0, "answer too long")
    if "=" not in truth.text:
        answer = unnamed(plain(answer))
    if _TUPLE.match(plain(truth.text)):
        answer = _POINT_NAME.sub("", plain(answer))
    if _INTERVAL.search(plain(truth.text)):
        answer = _ELEMENT.sub("", plain(answer))
    text, given = _as_math(answer, truth.unit, letters=True)
    numbers = read_number(truth.text, truth.unit), read_number(answer, truth.unit)
    wanted, given = numbers[0][1] if numbers[0] else wanted, numbers[1][1] if numbers[1] else given
    if wanted and given and wanted != given:
        return Match(0.0, f"unit {given!r} where {wanted!r} is expected")
    if _GLUED.search(plain(truth.text)):  # 5m may be five times m
        numbers = None, None
    if numbers[0] and numbers[1] and abs(numbers[0][0] - numbers[1][0]) <= tolerance_of(truth):
        return RIGHT
    if text is None or not one_expression(as_latex(answer), as_latex(truth.text)):
        return Match(0.0, "not one expression")
    kinds = enclosure(text[1:-1]), enclosure(gold[1:-1])
    if kinds in _OTHER_BRACKETS:
        return Match(0.0, "other brackets")
    if numbers[0] is None and (ordered := in_order(text[1:-1], gold[1:-1])):
        text, gold = (f"${one}$" for one in ordered)
    equal = math_equal(gold, text, relative=True)
    if equal is None:
        return Match(None, "comparing it takes too long")
    return RIGHT if equal else Match(0.0, "another value")


def math_truth_fault(truth: Truth) -> str | None:
    """Why a truth that `match_math` can compare is no mathematics all the same; None if it is."""
    if read_number(truth.text, truth.unit) or _time(truth.text):
        return None
    text = CURRENCY.sub(r"\1\3", truth.text)
    if fault := truth_fault(text, truth.unit):
        return fault
    gold = f"{_as_math(text, truth.unit, letters=False)[0]}"
    if (signs := unread(gold)) and not _readable(gold, "relative"):
        return f"{signs[0]!r} in it is not read, so that no other form of it is right"
    return None


_DATE = re.compile(r"\d{4}-\d{2}-\d{2}|\d{1,2}[/.]\d{1,2}[/.]\d{4}", re.ASCII)
_TIME = re.compile(
    r"(\d{1,2})(?::([0-5]\d)(?::([0-5]\d))?)?(?:\s*([ap])\.?m\.?)?", re.ASCII | re.IGNORECASE
)
#: A point or an interval; the letter before one as in ``A(-2,3)``; one letter behind a number.
_TUPLE = re.compile(r"(?:\\left\s*)?\([^()]*,")
_POINT_NAME = re.compile(r"^[A-Z]'?\s*(?=(?:\\left\s*)?\()")
#: What is an interval and no point, and how an answer names its elements.
_INTERVAL = re.compile(r"^(?!.*(?:\\in(?![A-Za-z])|∈)).*(?:\\infty|∞|^\[.*,|,.*\]$)")
_ELEMENT = re.compile(r"^\s*[A-Za-z]\s*(?:\\in(?![A-Za-z])|∈)\s*")
_GLUED = re.compile(r"\d[A-Za-z]$", re.ASCII)
#: Of answer and truth: a set, or values without brackets, are no pair, and a pair is no set.
_OTHER_BRACKETS = {("{", "("), (",", "("), ("(", "{")}
_MARK = re.compile(r"\$|\\boxed|(?<!\\)\\[(\[]")


def _time(text: str) -> tuple[str | int | None, ...] | None:
    """A time of the clock, which is no quotient, or None: ``9:05`` is ``09:05``, not 9:05 pm."""
    found = _TIME.fullmatch(plain(text))
    if found is None or not (found[2] or found[4]):
        return None
    return int(found[1]), int(found[2] or 0), found[3], (found[4] or "").lower()


def _as_math(text: str, unit: str, *, letters: bool) -> tuple[str | None, str]:
    """The plain expression in dollars (None if it is empty or has others inside), and its unit."""
    text, given = split_unit(as_latex(text), unit, letters=letters)
    return (f"${text}$" if text and not _MARK.search(text) else None), given
