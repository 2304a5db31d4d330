r"""Is a text one mathematical expression? Of an answer, beside its truth, and of a truth alone.

math-verify takes something from any text: of ``4 \\to 5`` the 5, of ``red`` a product of letters.
"""

from __future__ import annotations

import re
import unicodedata

from ekipl_lab.rewards.plain import NAMED_VALUE, as_latex, names_first
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


#: Commands of statements, such as ``AB \\parallel CD``, of which only the same text is right.
_STATEMENTS = (
    "to rightarrow Rightarrow iff Leftrightarrow cong parallel perp sim simeq approx equiv propto "
    "in notin subset subseteq supset mid neg lnot not wedge vee forall exists dots ldots cdots "
    "widehat R N Z Q C"
)
_KNOWN = _COMMANDS | frozenset(_STATEMENTS.split())


def unread(truth: str) -> list[str]:
    """Commands and signs of a truth that are none of mathematics: ``\\foo``, ``#``, an emoji."""
    signs = []
    for found in _TOKEN.finditer(truth):
        known = found[0] in _SAME or found[1] in _KNOWN
        odd = found[4] and unicodedata.category(found[4]) in ("So", "Sk", "Po", "Cs", "Co", "Cn")
        if (found[1] and not known) or found[0] in ("#", "@", "?") or (odd and found[4] != "△"):
            signs.append(found[0])
    return signs


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
    beside = [_side_by_side(text) for text in (answer, truth)]
    if beside[0] and not beside[1]:
        return False
    if beside[1] and _DIGITS.findall(answer) != _DIGITS.findall(truth):  # one of several
        return False
    equations = answer.count("=") - names_first(answer)
    return equations <= truth.count("=")


_BEFORE = re.compile(r"^.*(?:=|\\in(?![A-Za-z]))|\\(?:left|right)(?![A-Za-z])|\s")


def enclosure(text: str) -> str:
    """``(`` of a pair, point or open interval, ``{`` of a set, ``,`` of values without brackets;
    "" of all else, an interval with another end too."""
    if (parts := len(_parts(text))) > 1:
        return ","
    text = _BEFORE.sub("", text).replace("\\{", "{").replace("\\}", "}")
    around, inner = text[:1] + text[-1:], text[1:-1]
    return around[0] if around in ("()", "{}") and len(_parts(inner)) > parts else ""


def _parts(text: str) -> list[str]:
    """What stands between commas that are within no bracket."""
    parts, depth = [""], 0
    for sign in text:
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return parts


def in_order(answer: str, truth: str) -> tuple[str, str] | None:
    """Both as tuples where values have an order: a tuple for a list, or ``x = 1, y = 2``.

    ("", ...) where the names are others; None where the order says nothing.
    """
    wanted = [NAMED_VALUE.fullmatch(part) for part in _parts(truth)]
    names = [found[1] for found in wanted if found]
    kind = enclosure(answer)
    if len(names) < 2 or len(set(names)) < len(wanted):  # x = 1, x = 2 are solutions
        return (answer, f"({truth})") if (kind, enclosure(truth)) == ("(", ",") else None
    bare = re.sub(r"\\(?:left|right)", "", answer).strip()
    given = _parts(bare[1:-1] if kind == "(" else bare)
    named = {found[1]: found[2] for found in map(NAMED_VALUE.fullmatch, given) if found}
    if named:
        given = [named[name] for name in names] if named.keys() == set(names) else []
    values = [found[2] for found in wanted if found]
    return f"({','.join(given)})" if given else "", f"({','.join(values)})"


_SUBSCRIPT = re.compile(r"_\s*(?:\{[^{}]*\}|\w)")
_PARTS = re.compile(
    r",?\s*(?:\\text\s*\{\s*(?:or|and)\s*\}|(?<![A-Za-z\\])(?:or|and)(?![A-Za-z]))\s*"
)


def _whole(text: str) -> str:
    """Without what is in the right place beside a number: subscripts, ``\\frac12``, `or`."""
    return _PARTS.sub(", ", _SHORT_FRAC.sub("", _SUBSCRIPT.sub("", text)))


def _side_by_side(text: str) -> bool:
    return _SIDE_BY_SIDE.search(_whole(text)) is not None


_NAME = re.compile(rf"(?:{_TEXT}|\\(?:operatorname|begin|end)\s*\{{)[^{{}}]*\}}|\\[A-Za-z]+")
_WORD = re.compile(r"[A-Za-z][a-z]{2,}")
_NO_BRACKET = re.compile(r"\\[{}]|\\(?:left|right)\s*\.|\\begin\s*\{array\}")
#: A whole truth that is a word of two letters, or one in capitals.
_NO_VALUE = re.compile(r"no|na|n/a|nan|ok|dne|yes|none|true|false|undefined", re.IGNORECASE)
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
    text = _whole(text)
    if _side_by_side(text):
        return "it has numbers or quantities side by side"
    brackets = _NAME.sub(" ", _NO_BRACKET.sub("", text))
    open_ones = sum((sign in "([{") - (sign in ")]}") for sign in brackets)
    if open_ones and not _NO_BRACKET.search(text):
        return "it has a bracket without its other half"
    for word in (*_WORD.findall(brackets), *filter(_NO_VALUE.fullmatch, [brackets.strip()])):
        product = word in _READ_WORDS or list(word.lower()) == sorted(set(word.lower()))
        if _NO_VALUE.fullmatch(word) or not product:
            return f"{word!r} is a word; give it as \\text{{{word}}}, or take `answer_type: text`"
    return None
