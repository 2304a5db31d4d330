"""Typed matchers: is this answer the ground truth?

One small function per answer type, each ``match(answer, truth) -> Match``. They read ASCII only
where they read digits and letters (look-alike characters never match), refuse over-long answers,
and run in linear time. A ground truth that a matcher cannot read raises RewardError, so that it is
found when the data are loaded and never becomes a reward of 0.

Examples: ``number`` takes ``12``, ``-3.5``, ``1/2``, ``1,000``, ``60 deg`` where the truth is in
degrees; ``letter`` takes ``B``, ``(b)``, ``B.``; ``numbers`` takes ``3, 0, 2`` and ``[3 0 2]``;
``text`` ignores case, repeated spaces and a final full stop.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from ekipl_lab.errors import RewardError

MAX_ANSWER_CHARS = 2000
_MAX_NUMBER_CHARS = 64


@dataclass(frozen=True, slots=True)
class Truth:
    """A ground truth and how exactly it must be met.

    ``tolerance`` is absolute, in the unit of the answer; ``unit`` is the expected unit (an answer
    without unit is taken to mean it); ``letters`` the allowed letters, empty for A to Z.
    """

    text: str
    tolerance: str = "0"
    unit: str = ""
    letters: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """``value`` in [0, 1], or None where the answer could not be judged; ``note`` says why."""

    value: float | None
    note: str


RIGHT = Match(1.0, "right")

_NUMBER = re.compile(
    r"(?P<sign>[+-]?)(?P<body>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+\.?\d*|\.\d+)"
    r"(?P<exponent>[eE][+-]?\d{1,2})?(?:/(?P<over>\d+))?",
    re.ASCII,
)
_UNITS = {
    "°": "deg", "degree": "deg", "degrees": "deg", "\\circ": "deg", "^\\circ": "deg",
    "cm²": "cm^2", "cm2": "cm^2", "m²": "m^2", "m2": "m^2", "mm²": "mm^2", "mm2": "mm^2",
    "square cm": "cm^2", "sq cm": "cm^2", "square m": "m^2", "sq m": "m^2",
    "percent": "%", "units": "unit", "square units": "unit^2", "units^2": "unit^2",
}  # fmt: skip


def read_number(text: str) -> tuple[Fraction, str] | None:
    """The exact value and the normalised unit of a number, or None if the text is not one."""
    text = text.strip().replace("−", "-")
    found = _NUMBER.match(text) if len(text) <= _MAX_NUMBER_CHARS else None
    if found is None:
        return None
    over = found["over"]
    if over is not None and int(over) == 0:
        return None
    value = Fraction(found["sign"] + found["body"].replace(",", "") + (found["exponent"] or ""))
    return value / int(over or 1), _normal_unit(text[found.end() :])


def _normal_unit(text: str) -> str:
    unit = " ".join(text.lower().split()).rstrip(".")
    return _UNITS.get(unit, unit)


def match_number(answer: str, truth: Truth) -> Match:
    """Right if ``|answer - truth| <= tolerance``, exactly, and a given unit is the truth's."""
    wanted = read_number(truth.text)
    if wanted is None:
        raise RewardError(f"ground truth {truth.text!r} is not a number")
    given = read_number(answer)
    if given is None:
        return Match(0.0, "not a number")
    unit = _normal_unit(truth.unit) or wanted[1]
    if given[1] and given[1] != unit:
        return Match(0.0, f"unit {given[1]!r} where {unit or 'none'!r} is expected")
    if abs(given[0] - wanted[0]) <= _tolerance(truth):
        return RIGHT
    return Match(0.0, "another number")


def _tolerance(truth: Truth) -> Fraction:
    try:
        tolerance = Fraction(truth.tolerance)
    except (ValueError, ZeroDivisionError):
        raise RewardError(f"tolerance {truth.tolerance!r} is not a number") from None
    if tolerance < 0:
        raise RewardError(f"tolerance {truth.tolerance!r} is negative")
    return tolerance


_NUMBERS = re.compile(r"[+-]?\d{1,18}(?:[\s,;]+[+-]?\d{1,18})*", re.ASCII)


def read_numbers(text: str) -> tuple[int, ...] | None:
    """The integers of a list such as ``3, 0, 2``, or None if the text is not one."""
    text = text.strip().replace("−", "-")
    if len(text) > MAX_ANSWER_CHARS:
        return None
    if text[:1] + text[-1:] in ("[]", "()"):
        text = text[1:-1].strip()
    if not _NUMBERS.fullmatch(text):
        return None
    return tuple(int(part) for part in re.split(r"[\s,;]+", text, flags=re.ASCII))


def match_numbers(answer: str, truth: Truth) -> Match:
    """Right if both are the same integers in the same order."""
    wanted = read_numbers(truth.text)
    if wanted is None:
        raise RewardError(f"ground truth {truth.text!r} is not a list of integers")
    given = read_numbers(answer)
    if given is None:
        return Match(0.0, "not a list of integers")
    return RIGHT if given == wanted else Match(0.0, "other integers")


_LETTER = re.compile(r"(?:([A-Za-z])|\(([A-Za-z])\)|([A-Za-z])\))\.?", re.ASCII)


def read_letter(text: str) -> str | None:
    """The letter of ``B``, ``b``, ``(B)``, ``B)`` or ``B.`` in upper case, else None."""
    found = _LETTER.fullmatch(text.strip()) if len(text) <= _MAX_NUMBER_CHARS else None
    return (found[1] or found[2] or found[3]).upper() if found else None


def match_letter(answer: str, truth: Truth) -> Match:
    """Right if the letters are equal, whatever their case and brackets."""
    wanted = read_letter(truth.text)
    if wanted is None or (truth.letters and wanted not in truth.letters):
        raise RewardError(
            f"ground truth {truth.text!r} is not one of the letters {truth.letters or 'A to Z'}"
        )
    given = read_letter(answer)
    if given is None:
        return Match(0.0, "not a letter")
    return RIGHT if given == wanted else Match(0.0, "another letter")


def normal_text(text: str) -> str:
    """Case folded, white space collapsed, one final full stop dropped."""
    return " ".join(text.casefold().split()).removesuffix(".").rstrip()


def match_text(answer: str, truth: Truth) -> Match:
    """Right if the normalised texts are equal."""
    wanted = normal_text(truth.text)
    if not wanted:
        raise RewardError("ground truth is empty")
    if len(answer) > MAX_ANSWER_CHARS:
        return Match(0.0, "answer too long")
    return RIGHT if normal_text(answer) == wanted else Match(0.0, "another text")
