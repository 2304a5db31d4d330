r"""Units behind a value: which are known, and how one is taken off an expression.

math-verify drops what its own list calls a unit, as ``am``, ``st``, ``more`` and the letter ``t``:
``10 am`` would be 10, and ``2t`` be 2. So it drops none here, and what is known is taken off first.
"""

from __future__ import annotations

import re

from ekipl_lab.rewards.plain import as_digits

_UNITS = {
    "°": "deg", "degree": "deg", "degrees": "deg", "\\circ": "deg", "^\\circ": "deg",
    "\\degree": "deg", "radians": "rad", "percent": "%", "unit": "units", "square units": "units^2",
    "L": "l",
    "square unit": "units^2", "unit^2": "units^2", "hours": "h", "hour": "h", "hr": "h",
    "hrs": "h", "minutes": "min", "mins": "min", "secs": "s", "yr": "years", "yrs": "years",
    "minute": "min", "seconds": "s", "second": "s", "sec": "s", "day": "days", "week": "weeks",
    "month": "months", "year": "years", "inches": "in", "inch": "in", "feet": "ft", "foot": "ft",
    "miles": "mi", "mile": "mi", "litre": "l", "litres": "l", "liter": "l", "liters": "l",
    "yard": "yd", "yards": "yd", "gallon": "gal", "gallons": "gal", "ounce": "oz", "ounces": "oz",
    "pounds": "lb", "pound": "lb", "lbs": "lb", "dollars": "$", "dollar": "$", "euros": "€",
    "euro": "€", "cent": "cents", "pixels": "px", "pixel": "px", "kilometers": "km",
    "kilometres": "km",
    "meter": "m", "meters": "m", "metre": "m", "metres": "m", "centimeters": "cm",
    "centimetres": "cm", "millimeters": "mm", "millimetres": "mm", "grams": "g", "gram": "g",
    "kilograms": "kg", "kilogram": "kg", "miles per hour": "mph", "kmh": "km/h", "kmph": "km/h",
    "acre": "acres", "hectare": "hectares",
}  # fmt: skip
_LENGTHS = ("mm", "cm", "dm", "m", "km", "in", "ft", "yd", "mi", "units")
KNOWN_UNITS = {
    "", "g", "kg", "mg", "lb", "oz", "ms", "ml", "cl", "gal", "km/h", "m/s", "mph", "°c", "°f",
    "pa", "kpa", "hz", "khz", "kw", "kwh", "kj", "mol", "£", "cents",
    *_UNITS.values(), *_LENGTHS, *(f"{one}^{power}" for one in _LENGTHS for power in "23"),
}  # fmt: skip
_AREA = re.compile(r"(square|sq\.?|cubic) (\w+)|(\w+?)\^?([23])")
_IN_TEXT = re.compile(r"\\(?:text|mathrm|mbox)\s*(\{[^{}]*\}(?:\^\{?[23]\}?)?)\s*$")
_BARE = re.compile(r"\s*(?<![A-Za-z\\])([A-Za-z]+(?: [A-Za-z]+)?(?:\^\{?[23]\}?)?)\s*$")
_COMMAND = re.compile(r"\\[A-Za-z]+\s*")


def normal_unit(text: str) -> str:
    """The one name of a unit: ``cm^2`` for ``cm²`` and ``square centimetres``."""
    unit = " ".join(as_digits(text).split()).removesuffix(".")
    if len(unit) > 1:  # 5 M are five million, not metres
        unit = unit.lower()
    area = _AREA.fullmatch(unit)
    if area is None:
        return _UNITS.get(unit, unit)
    base = area[2] or area[3]
    return f"{_UNITS.get(base, base)}^{area[4] or ('3' if area[1] == 'cubic' else '2')}"


def split_unit(text: str, unit: str = "", *, letters: bool = True) -> tuple[str, str]:
    r"""An expression of LaTeX and the unit that ends it; "" where none does.

    A unit is known, or ``unit``. Outside of ``\text{...}`` it is a word behind a value without
    variables; one letter is m, g or s, and only with ``letters``: in a truth it may be a variable.
    """
    if found := _IN_TEXT.search(text):
        given = normal_unit(re.sub("[{}]", "", found[1]))
    elif found := _BARE.search(text):
        given = normal_unit(re.sub("[{}]", "", found[1]))
        variables = re.search("[A-Za-z]", _COMMAND.sub("", text[: found.start()].split("=")[-1]))
        letter = len(given) == 1 and not (letters and given in "mgs") and given != normal_unit(unit)
        if variables or letter:
            return text, ""
    if not found or not given or given not in KNOWN_UNITS | {normal_unit(unit)}:
        return text, ""
    rest = text[: found.start()].strip()
    return (rest, given) if rest and not rest.endswith(("=", "+", "-", "^", "_")) else (text, "")
