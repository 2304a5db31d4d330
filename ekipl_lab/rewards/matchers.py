"""Typed matchers: is this answer the ground truth?

One small function per answer type, each ``match(answer, truth) -> Match``. They read ASCII only
where they read digits and letters (look-alike characters never match), refuse over-long answers,
and run in linear time. A ground truth that a matcher cannot read raises RewardError, so that it is
found when the data are loaded and never becomes a reward of 0.

Examples: ``number`` takes ``12``, ``-3.5``, ``1/2``, ``1 1/2``, ``1,000``, ``x = 5``, ``60 deg``
where the truth is in degrees; ``letter`` takes ``B``, ``(b)``, ``B. 5 cm`` where that is what B
stands for; ``numbers`` takes ``3, 0, 2`` and ``[3 0 2]``; ``text`` ignores case, repeated spaces
and a final full stop. All read the plain form (``plain.py``): ``**B**`` and ``\\boxed{B}`` are
``B``.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

from ekipl_lab.errors import RewardError
from ekipl_lab.rewards.plain import (
    MAX_ANSWER_CHARS,
    as_digits,
    bare,
    plain,
    said,
    unlatex,
    unnamed,
)
from ekipl_lab.rewards.units import KNOWN_UNITS, normal_unit

_MAX_NUMBER_CHARS = 64


@dataclass(frozen=True, slots=True)
class Truth:
    """A ground truth and how exactly it must be met.

    ``tolerance`` is absolute, in the unit of the answer; ``unit`` is the expected unit (an answer
    without unit is taken to mean it); ``letters`` the allowed letters, empty for A to Z;
    ``choices`` what they stand for; ``iou`` how much a box must overlap the true one.
    """

    text: str
    tolerance: str = "0"
    unit: str = ""
    letters: str = ""
    choices: tuple[str, ...] = ()
    iou: float = 0.5


@dataclass(frozen=True, slots=True)
class Match:
    """``value`` in [0, 1], or None where the answer could not be judged; ``note`` says why."""

    value: float | None
    note: str


RIGHT = Match(1.0, "right")

_NUMBER = re.compile(
    r"(?P<sign>[+-]?)\s*(?:(?P<whole>\d+)\s+(?P<and>and\s+)?(?=\d+\s*/))?(?!0\d+\s*/\s*\d)"
    r"(?P<body>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,3}(?: \d{3})+(?:\.\d+)?|\d+\.?\d*|\.\d+)"
    r"(?P<exponent>[eE][+-]?\d{1,3})?(?:\s*/\s*(?P<over>[1-9]\d*))?",
    re.ASCII,
)
_FRAC = re.compile(r"\s*\\[dt]?frac\s*(?:\{(\d+)\}\s*\{(\d+)\}|(\d)\s*(\d))", re.ASCII)
_NEGATIVE_FRAC = re.compile(r"^(\\[dt]?frac\s*\{)\s*-")
CURRENCY = re.compile(r"(-?)\\?([$€£])\s*([\d.].*)", re.ASCII | re.DOTALL)
_POWER = re.compile(r"(?:\s*(?:\\times|\\cdot|[×·*x])\s*|^[+-]?)10\s*\^\s*([+-]?\d{1,3})", re.ASCII)


def read_number(text: str, unit: str = "") -> tuple[Fraction, str] | None:
    """The exact value and the normalised unit of one number; None if the text is anything else.

    ``12:30``, ``3,5`` and ``10-12`` are not one number: what follows it must be a known unit, or
    ``unit``.
    """
    text = bare(text)
    if len(text) > _MAX_NUMBER_CHARS:
        return None
    text = CURRENCY.sub(r"\1\3 \2", _NEGATIVE_FRAC.sub(r"-\1", text))
    text = _FRAC.sub(lambda found: " {}/{}".format(*filter(None, found.groups())), as_digits(text))
    text = _POWER.sub(_exponent, text.strip())
    found = _NUMBER.match(text)
    if found is None:
        return None
    over, given = int(found["over"] or 1), normal_unit(text[found.end() :])
    if given not in KNOWN_UNITS | {normal_unit(unit)}:
        return None
    body = found["body"].replace(",", "").replace(" ", "")
    part = Fraction(body + (found["exponent"] or "")) / over
    if found["and"] and not 0 < part < 1:  # 1 and 3/2 are two numbers
        return None
    value = int(found["whole"] or 0) + part
    return (-value if found["sign"] == "-" else value), given


def _exponent(found: re.Match[str]) -> str:
    """The power of ten as ``e``: of 1 where no factor is before it."""
    factor = "" if found.start() else found[0][: found[0].index("10")] + "1"
    return f"{factor}e{found[1]}"


def match_number(answer: str, truth: Truth) -> Match:
    """Right if ``|answer - truth| <= tolerance``, exactly, and a given unit is the truth's."""
    wanted = read_number(truth.text, truth.unit)
    if wanted is None:
        raise RewardError(
            f"ground truth {truth.text!r} is not a number (one, with a known unit or the `unit` "
            "of the data, or none)"
        )
    given = read_number(unnamed(plain(answer)), truth.unit)
    if given is None:
        return Match(0.0, "not a number")
    unit = normal_unit(truth.unit) or wanted[1]
    if given[1] and given[1] != unit:
        return Match(0.0, f"unit {given[1]!r} where {unit or 'none'!r} is expected")
    if abs(given[0] - wanted[0]) <= tolerance_of(truth):
        return RIGHT
    return Match(0.0, "another number")


def tolerance_of(truth: Truth) -> Fraction:
    """The tolerance as an exact number; RewardError if it is none."""
    try:
        tolerance = Fraction(truth.tolerance)
    except (ValueError, ZeroDivisionError):
        raise RewardError(f"tolerance {truth.tolerance!r} is not a number") from None
    if tolerance < 0:
        raise RewardError(f"tolerance {truth.tolerance!r} is negative")
    return tolerance


_NUMBERS = re.compile(r"[+-]?\d{1,18}(?:[\s,;]+[+-]?\d{1,18})*", re.ASCII)


#: ``1,000, 2``: one number with a comma in it, or two of them?
_THOUSANDS = re.compile(r"\d[, ]0\d\d(?!\d)|\d,\d{3}(?!\d)(?=.*[,;]\s)", re.ASCII)


def read_numbers(text: str) -> tuple[int, ...] | None:
    """The integers of a list such as ``3, 0, 2``, or None if the text is not one."""
    text = unlatex(text).removesuffix(".")
    if len(text) > MAX_ANSWER_CHARS:
        return None
    if text[:1] + text[-1:] in ("[]", "()"):
        text = text[1:-1].strip()
    if not _NUMBERS.fullmatch(text) or _THOUSANDS.search(text):
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


_LETTER = re.compile(r"(?:([A-Za-z])|\(([A-Za-z])\)|\[([A-Za-z])\]|([A-Za-z])\))\.?", re.ASCII)


def read_letter(text: str) -> str | None:
    """The letter of ``B``, ``b``, ``(B)``, ``[B]``, ``B)`` or ``B.`` in upper case, else None."""
    text = unlatex(text)
    found = _LETTER.fullmatch(text) if len(text) <= _MAX_NUMBER_CHARS else None
    return next(filter(None, found.groups())).upper() if found else None


_LABELLED = re.compile(
    r"[(\[]?([A-Za-z])(?:[).:\]]+\s*|\s+(?:[-–]\s+)?)(\S.*)", re.ASCII | re.DOTALL
)


def read_choice(text: str, choices: tuple[str, ...]) -> str | None:
    """The letter of ``B``, or of ``B. 5 cm`` or ``5 cm`` where that is what B alone stands for."""
    letter = read_letter(text)
    is_choice = letter is not None and ord(letter) - ord("A") < len(choices)
    if is_choice or not choices or len(text) > MAX_ANSWER_CHARS:
        return letter
    options = [normal_text(choice) for choice in choices]
    text = text.replace("**", "")
    found = _LABELLED.fullmatch(unlatex(text))
    if found:
        index = ord(found[1].upper()) - ord("A")
        if index < len(options) and options[index] == normal_text(found[2]):
            return found[1].upper()
    said = normal_text(text)
    return chr(ord("A") + options.index(said)) if options.count(said) == 1 else letter


def match_letter(answer: str, truth: Truth) -> Match:
    """Right if it names the same choice: by letter, by letter and text, or by its text."""
    wanted = read_letter(truth.text)
    if wanted is None or (truth.letters and wanted not in truth.letters):
        raise RewardError(
            f"ground truth {truth.text!r} is not one of the letters {truth.letters or 'A to Z'}"
        )
    given = read_choice(answer, truth.choices)
    if given is None and (value := said(answer, letter=True)):
        given = read_choice(value, truth.choices)
    if given is None:
        return Match(0.0, "not a letter")
    return RIGHT if given == wanted else Match(0.0, "another letter")


def normal_text(text: str) -> str:
    """Plain, case folded, white space collapsed, one final full stop dropped."""
    folded = unicodedata.normalize("NFC", unlatex(text).casefold())
    return " ".join(folded.split()).removesuffix(".").rstrip()


def match_text(answer: str, truth: Truth) -> Match:
    """Right if the normalised texts are equal."""
    wanted = normal_text(truth.text)
    if not wanted:
        raise RewardError("ground truth is empty")
    if len(answer) > MAX_ANSWER_CHARS:
        return Match(0.0, "answer too long")
    return RIGHT if normal_text(answer) == wanted else Match(0.0, "another text")
