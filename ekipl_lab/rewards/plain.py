r"""The plain form of an answer, in front of every matcher.

Stock models write ``**73**``, ``\boxed{5}``, ``$5$``, ``5\text{ cm}``, ``don’t``: the same answer
in another form. ``plain`` takes off what is around the whole text (a model's box and end tokens
too), ``unlatex`` also the LaTeX between numbers and words, and ``as_latex`` writes unicode
mathematics as LaTeX. Letters and digits stay what they are: a look-alike of another script is
another character. All are linear, and leave texts of more than MAX_ANSWER_CHARS alone, which no
matcher reads.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from ekipl_lab.parsing import without_end

MAX_ANSWER_CHARS = 2000
#: Wrappers in wrappers that are taken off, as in ``$\boxed{\text{B}}$``.
_MAX_DEPTH = 8

_CHARACTERS = str.maketrans(
    dict.fromkeys("’‘‛", "'")
    | dict.fromkeys("“”„", '"')
    | dict.fromkeys("−‐‑–", "-")
    | dict.fromkeys("⁄∕", "/")
    | dict.fromkeys("\u00a0\u2007\u2009\u202f", " ")
    | dict.fromkeys("\u200b\u2060\ufeff", "")
)
_AROUND = (
    ("**", "**"), ("*", "*"), ("`", "`"), ("$$", "$$"), ("$", "$"), (r"\(", r"\)"),
    (r"\[", r"\]"), ('"', '"'), ("<|begin_of_box|>", "<|end_of_box|>"),
)  # fmt: skip
_TEXT_COMMANDS = "text|textbf|textit|textrm|mathrm|mathbf|mbox"
_COMMAND = re.compile(rf"\\(boxed|fbox|{_TEXT_COMMANDS})\s*\{{")
_WORD = re.compile(r"[A-Za-z]{2}")


def plain(text: str) -> str:
    """The text in composed unicode, with straight quotes, without what is around the whole of it.

    A word in ``\\text{...}`` stays there: in mathematics it is one name, not a product of letters.
    """
    if len(text) > MAX_ANSWER_CHARS:
        return text
    text = unicodedata.normalize("NFC", text).translate(_CHARACTERS).strip()
    text = without_end(text)
    for _ in range(_MAX_DEPTH):
        inner = _inside(text) or _inside(text.removesuffix("."))
        if not inner:
            break
        text = inner
    return text


def _inside(text: str) -> str | None:
    """What is inside the outermost wrapper, None if no wrapper is around the whole text."""
    for opening, closing in _AROUND:
        if text.startswith(opening) and text.endswith(closing):
            inner = text[len(opening) : -len(closing)]
            if opening not in inner and closing not in inner:
                return inner.strip()
    found = _COMMAND.match(text)
    if found is None or not text.endswith("}"):
        return None
    inner = text[found.end() : -1].strip()
    is_name = found[1] not in ("boxed", "fbox") and _WORD.search(inner) is not None
    return None if is_name or not _balanced(inner) else inner


def _balanced(text: str) -> bool:
    depth = 0
    for character in text:
        depth += (character == "{") - (character == "}")
        if depth < 0:
            return False
    return depth == 0


_INNER = r"((?:(?!\\[(\[\])])[^*`$])+)"
#: Something in a wrapper and a text behind it that begins with no digit or bracket.
_HEAD = re.compile(
    rf"(?:(?P<mark>\*\*|\*|`|\$\$|\$){_INNER}(?P=mark)|\\\({_INNER}\\\)|\\\[{_INNER}\\\]"
    r"|\\(?:boxed|fbox)\s*\{([^{}]*)\}|<\|begin_of_box\|>([^<*`$]+)<\|end_of_box\|>)(\s*(?![\d.,(\[{=])\S(?:(?!\\[(\[]|\\f?boxe?d?\b)[^*`$])*)"
)


def bare(text: str) -> str:
    """The plain form, where a wrapper is around the value alone: ``**24** cm`` is ``24 cm``."""
    text = plain(text)
    found = _HEAD.fullmatch(text) if len(text) <= MAX_ANSWER_CHARS else None
    if found is None:
        return text
    inner = next(part for part in found.groups()[1:-1] if part is not None)
    return f"{inner.strip()} {found.groups()[-1].strip()}"


_TIE = re.compile(r"(?<=[\w}])~")
_UNLATEX = (
    (re.compile(rf"\\(?:{_TEXT_COMMANDS})\s*\{{([^{{}}]*)\}}"), r"\1"),
    (re.compile(r"\\[,;: ]|\\quad\b"), " "),
    (_TIE, " "),
    (re.compile(r"\\!"), ""),
    (re.compile(r"\\([%$])"), r"\1"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\^\{([^{}]*)\}"), r"^\1"),
)


def unlatex(text: str) -> str:
    r"""The plain form, without the LaTeX between words: ``5\,\text{cm}^{2}`` is ``5 cm^2``."""
    text = plain(text)
    if len(text) <= MAX_ANSWER_CHARS:
        for pattern, replacement in _UNLATEX:
            text = pattern.sub(replacement, text)
    return text.strip()


_FRACTION = re.compile("[¼-¾⅐-⅞]")
_SUPERSCRIPT = re.compile("[⁺⁻]?[⁰¹²³⁴-⁹]+")
_ROOT = re.compile(
    r"(?:√|(?<![A-Za-z\\])sqrt)\s*(?:\(([^()]*)\)|\{([^{}]*)\}|(\d+(?:\.\d+)?|[A-Za-z]))"
)
_REPEATING = re.compile(
    r"(^|(?:[-+=*/({,]|\\times|\\cdot)\s*)(\d{0,20})\.(\d{0,20})"
    r"\\(?:overline|bar|dot)\s*(?:\{(\d{1,20})\}|(\d))(?![\d.\\/^])",
    re.ASCII,
)
_TRIGONOMETRY = re.compile(r"\\(?:arc)?(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
_DEGREES = re.compile(r"(\d+(?:\.\d+)?)\s*(?:\^\s*(?:\{\s*\\circ\s*\}|\\circ)|\\degree)", re.ASCII)
_SYMBOLS = str.maketrans(
    {"×": r"\times ", "·": r"\cdot ", "÷": r"\div ", "°": r"^\circ ", "π": r"\pi ",
     "±": r"\pm ", "∓": r"\mp ", "∪": r"\cup ", "∩": r"\cap ",
     "∞": r"\infty ", "∈": r"\in ", "∅": r"\emptyset "}
)  # fmt: skip
_ASCII_NAME = re.compile(
    r"(?<![A-Za-z\\])(?<!\\operatorname\{)(?<!\\mathrm\{)(?<!\\text\{)(pi|ln|sin|cos|tan)(?![A-Za-z])"
)


def _repeating(form: str) -> Callable[[re.Match[str]], str]:
    """A replacement: ``0.1\\overline{6}`` as the exact fraction 15/90."""

    def fraction(found: re.Match[str]) -> str:
        fixed, cycle = found[2] + found[3], found[4] or found[5]
        over = (10 ** len(cycle) - 1) * 10 ** len(found[3])
        return found[1] + form.format(int(fixed + cycle) - int(fixed or 0), over)

    return fraction


def as_latex(text: str) -> str:
    r"""The plain form with unicode mathematics as LaTeX: ``2√3`` is ``2\sqrt{3}``."""
    text = bare(text)
    if len(text) > MAX_ANSWER_CHARS:
        return text
    text = _REPEATING.sub(_repeating(r"\frac{{{}}}{{{}}}"), text)
    text = _FRACTION.sub(lambda found: r"\frac{{{}}}{{{}}}".format(*_two(found[0])), text)
    text = _TIE.sub(" ", text)
    text = _SUPERSCRIPT.sub(lambda found: f"^{{{_ascii(found[0])}}}", text)
    text = text.replace(">=", r"\geq ").replace("<=", r"\leq ")
    text = _ROOT.sub(lambda found: rf"\sqrt{{{found[1] or found[2] or found[3]}}}", text)
    text = _ASCII_NAME.sub(r"\\\1 ", text).translate(_SYMBOLS)
    if _TRIGONOMETRY.search(text):  # math-verify takes 30 degrees for 30
        text = _DEGREES.sub(r"{\\frac{\1\\pi}{180}}", text)
    return text


_NAME = (
    r"(?:m?\s*(?:\\angle|∠)\s*)?(?!\\?(?:l?not|neg)\b)"
    r"(?:\\?[A-Za-z]\w{0,9}(?:_\{\w{1,9}\})?(?:\(\w{1,9}\))?"
    r"|\\text\s*\{(?!not\b)[A-Za-z]{1,20}\}|\\overline\s*\{[A-Za-z]{2}\})"
)
NAMED_VALUE = re.compile(rf"\s*({_NAME})\s*=([^=]+)")
_NAMED = re.compile(rf"\s*(?:{_NAME})?\s*=([^=]*)|([^=]*)=\s*{_NAME}\s*")
_PARENTHESES = re.compile(r"(?:\\left\s*)?\(([^(),\\]*)(?:\\right\s*)?\)")
_NAMED_FIRST = re.compile(rf"\$?\s*{_NAME}\s*=")


def unnamed(answer: str) -> str:
    """The value of ``x = 5``, ``5 = x``, ``= 5`` or ``(5)``; another text as it is."""
    answer = _PARENTHESES.sub(r"\1", answer) if _PARENTHESES.fullmatch(answer) else answer
    found = _NAMED.fullmatch(answer)
    value = (found[1] or found[2] or "").strip() if found else answer
    return value[1:-1].strip() if found and _PARENTHESES.fullmatch(value) else value


_WHAT = r"(?:the\s+)?(?:(?:final|correct|right|best)\s+)?"
_SAYS = r"(?:\s+is(?![A-Za-z0-9])\s*[:：]?|\s*[:：=])"
_SAID = re.compile(
    rf"(?:{_WHAT}answer{_SAYS}|\*\*{_WHAT}answer{_SAYS}\*\*|\*\*{_WHAT}answer\*\*{_SAYS})\s*(\S.*)",
    re.IGNORECASE | re.DOTALL,
)
_OPTION = re.compile(
    rf"{_WHAT}(?:option|choice)(?:{_SAYS}|(?![A-Za-z]))\s*(\S.*)", re.IGNORECASE | re.DOTALL
)


def said(answer: str, *, letter: bool = False) -> str | None:
    """The value of ``Answer: 5`` or ``The answer is 5``, of a letter also of ``Option B``.

    None for a text that has no such words in front: no others are read over.
    """
    value = text = plain(answer)
    for words in (_SAID, _OPTION)[: 1 + letter]:
        found = words.fullmatch(value) if len(value) <= MAX_ANSWER_CHARS else None
        value = plain(found[1]) if found else value
    return None if value == text else value


def names_first(answer: str) -> bool:
    """Whether the text begins as ``x = ...``."""
    return _NAMED_FIRST.match(answer.strip()) is not None


def as_digits(text: str) -> str:
    """``unlatex`` with unicode fractions and powers in ASCII: ``2½`` is ``2 1/2``."""
    text = _REPEATING.sub(_repeating("{}/{}"), unlatex(bare(text)))
    text = _FRACTION.sub(lambda found: " {}/{}".format(*_two(found[0])), text)
    return _SUPERSCRIPT.sub(lambda found: f"^{_ascii(found[0])}", text).strip()


def _two(fraction: str) -> list[str]:
    return unicodedata.normalize("NFKC", fraction).split("\N{FRACTION SLASH}")


def _ascii(superscript: str) -> str:
    return unicodedata.normalize("NFKC", superscript).replace("\N{MINUS SIGN}", "-")
