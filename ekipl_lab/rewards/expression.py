r"""Is a text one mathematical expression? Of an answer, beside its truth, and of a truth alone.

math-verify takes something from any text: of ``4 \\to 5`` the 5, of ``red`` a product of letters.
"""

from __future__ import annotations

import re

from ekipl_lab.rewards.plain import as_latex, names_first
from ekipl_lab.rewards.units import split_unit

_TEXT = r"\\(?:text(?:bf|it|rm)?|math(?:rm|bf|it)|mbox)\s*\{"
_SIDE_BY_SIDE = re.compile(
    r"\d(?:[\s~]|\{\}|\\[,;: ])+\d|[\d}]\s*[A-Za-z][A-Za-z.]*(?:\s+[A-Za-z.]+)*\s+\d"
    rf"|{_TEXT}(?:[^{{}}]*\s)?\d|{_TEXT}[^{{}}]*\}}\s*\d|\}}\s+\d"
)
_ARGUMENT = r"(?:\d|\{(?:[^{}]|\{[^{}]*\})*\})"
_SHORT_FRAC = re.compile(rf"(?<!\d)\s*\\(?:[dtc]?frac|binom)\s*{_ARGUMENT}\s*\d")
_DIGITS = re.compile(r"\d+")
#: What math-verify understands. It reads over all others: it takes ``5`` from ``4 \to 5``.
_NAMES = (
    "frac dfrac tfrac cfrac sqrt binom pi infty cdot times div pm mp left right big Big bigl bigr "
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log lg exp lim sum prod int "
    "max min gcd lcm text textbf textit textrm mathrm mathbf mathit mathbb mbox circ degree angle "
    "triangle overline overrightarrow vec bar dot hat begin end cup cap setminus emptyset lbrace "
    "rbrace lfloor rfloor lceil rceil langle rangle quad displaystyle limits operatorname "
    "alpha beta gamma delta epsilon varepsilon zeta eta theta iota kappa lambda mu nu xi rho sigma "
    "tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega"
)
_COMMANDS = frozenset(_NAMES.split())
_TOKEN = re.compile(
    r"\\([A-Za-z]+)|([<>#&@?;_]|\.\.|\\\\|\^\s*\{?\s*(?:\\text\s*\{)?(?:st|nd|rd|th)\b)"
    r"|\b(or|not|and|to|than|least|most|more|less|no|never|wrong|half|twice|plus|minus|negative|times|"
    r"hundred|thousand|million|billion|trillion|dozen|th|root|squared|cubed)\b|([^\x00-\x7f])"
)
#: The same relation from the other side, and in other words.
_SAME = {
    "\\ge": "\\leq", "\\geq": "\\leq", "\\geqslant": "\\leq", "\\le": "\\leq",
    "\\leqslant": "\\leq", "\\gt": "<", "\\lt": "<", ">": "<", "\\ne": "\\neq", "≠": "\\neq",
    "≤": "\\leq", "≥": "\\leq",
}  # fmt: skip
_LEFT_OPEN = re.compile(r"(?:[-+*/^'=]|\\(?:cdot|times|div|pm|mp))\s*$")


def _beyond(text: str) -> set[str]:
    """What math-verify would read over: relations, arrows, other commands and signs, words."""
    return {
        _SAME.get(found[0], found[0])
        for found in _TOKEN.finditer(text)
        if found[1] not in _COMMANDS and not (found[4] and found[4].isalpha())
    }


def one_expression(answer: str, truth: str) -> bool:
    """Whether the answer holds no value, relation, command or word more than the truth."""
    if _beyond(answer) - _beyond(truth):
        return False
    if _LEFT_OPEN.search(answer) and not _LEFT_OPEN.search(truth):
        return False
    if answer.count("|") % 2 and not truth.count("|") % 2:
        return False
    if answer.count(",") > truth.count(","):
        return False
    beside = [_SIDE_BY_SIDE.search(_SHORT_FRAC.sub("", text)) for text in (answer, truth)]
    if beside[0] and not beside[1]:
        return False
    if beside[1] and _DIGITS.findall(answer) != _DIGITS.findall(truth):  # one of several
        return False
    equations = answer.count("=") - names_first(answer)
    return equations <= truth.count("=")


_SUBSCRIPT = re.compile(r"_\s*(?:\{[^{}]*\}|\w)")
_PARTS = re.compile(
    r",?\s*(?:\\text\s*\{\s*(?:or|and)\s*\}|(?<![A-Za-z\\])(?:or|and)(?![A-Za-z]))\s*"
)
_NAME = re.compile(rf"(?:{_TEXT}|\\(?:operatorname|begin|end)\s*\{{)[^{{}}]*\}}|\\[A-Za-z]+")
_WORD = re.compile(r"[A-Za-z][a-z]{2,}")
_NO_BRACKET = re.compile(r"\\[{}]|\\(?:left|right)\s*\.|\\begin\s*\{array\}")
#: Words that math-verify understands.
_READ_WORDS = ("infinity", "inf", "sqrt", "percent", "percentage", "pct")


def truth_fault(truth: str, unit: str = "") -> str | None:
    """Why a truth is no mathematics: a word, quantities side by side, an open bracket; else None.

    A word is read as the product of its letters, in any order; letters that stand in the order of
    the alphabet (``abc``, ``xyz``) are taken for a product.
    """
    text = split_unit(as_latex(truth), unit)[0]
    if not re.search(r"\w|\\[A-Za-z]", text) or _LEFT_OPEN.search(text) or text.count("|") % 2:
        return "it is only a part of one"
    text = _PARTS.sub(", ", _SHORT_FRAC.sub("", _SUBSCRIPT.sub("", text)))
    if _SIDE_BY_SIDE.search(text):
        return "it has numbers or quantities side by side"
    brackets = _NAME.sub(" ", _NO_BRACKET.sub("", text))
    open_ones = sum((sign in "([{") - (sign in ")]}") for sign in brackets)
    if open_ones and not _NO_BRACKET.search(text):
        return "it has a bracket without its other half"
    for word in _WORD.findall(brackets):
        if word not in _READ_WORDS and list(word.lower()) != sorted(set(word.lower())):
            return f"{word!r} is a word; give it as \\text{{{word}}}, or take `answer_type: text`"
    return None
