"""Reward auditor: adversarial completions against every scorer; what can each be gamed with?

    python -m ekipl_lab.rewards.audit
    python -m ekipl_lab.rewards.audit python:rewards.py:score --right 3 --wrong 5 --type number

Every attack is a completion that does not deserve the score it hopes for. A scorer is *gamed* by
it if it gives more than the attack deserves. ``ekipl/...`` must not be gamed by any; the published
``reason_rft/...`` are, which is the reason for the corrected forms. Look at this table before
believing a reward curve.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ekipl_lab.errors import RewardError, unknown_name
from ekipl_lab.rewards.calls import FUNCTION_VALUES
from ekipl_lab.rewards.registry import SCORERS, get_scorer
from ekipl_lab.types import Action, Sample, Scorer


@dataclass(frozen=True, slots=True)
class Case:
    """A ground truth, an answer that earns nothing, and all answers one could list."""

    right: str
    wrong: str
    every: tuple[str, ...]


_NUMBER = Case("4", "5", tuple(str(number) for number in range(10)))
_LETTER = Case("B", "C", ("A", "B", "C", "D"))
_BOX = Case(
    "[10, 20, 30, 40]", "[500, 500, 900, 900]", ("[10, 20, 30, 40]", "[500, 500, 900, 900]")
)
_CALLS = Case(
    "change_size(0, small)",
    "move(5, up)",
    tuple(
        f"{function}({number}, {value})"
        for number in range(2)
        for function, values in FUNCTION_VALUES.items()
        for value in values
    ),
)

#: The case for a scorer, by the last part of its name; ``_CALLS`` for transformations and calls.
CASES: dict[str, Case] = {
    "format": _NUMBER,
    "box": _BOX,
    "boxes": _BOX,
    "counting": _NUMBER,
    "number": _NUMBER,
    "point": Case("[20, 30]", "[700, 800]", ("[700, 800]", "[20, 30]")),
    "numbers": Case("4, 2", "5, 2", ("4, 2", "5, 2", "2, 4")),
    "geometry": _LETTER,
    "geometry_numeric": Case("40", "70", tuple(str(n) for n in range(0, 100, 10))),
    "letter": _LETTER,
    "math": Case(r"\frac{1}{2}", r"\frac{1}{3}", (r"\frac{1}{2}", r"\frac{1}{3}", "1")),
    "text": Case("red", "blue", ("red", "blue", "green")),
    **{name.rsplit("/", 1)[1]: _CALLS for name in SCORERS if "calls" in name or "transf" in name},
}

#: An attack whose truth is not the case's, where truths are numbers: all small ones round to 0.
TINY = "a tiny number for another"
_TINY = Case("0.0000001", "0.0000002", ("0.0000001", "0.0000002"))
_NUMERIC = ("counting", "number", "geometry", "geometry_numeric", "math")

Attack = Callable[[Case], str]


def _framed(answer: str, think: str = "So.") -> str:
    return f"<think>{think}</think><answer>{answer}</answer>"


_LOOKALIKE = str.maketrans("0123456789ABCDaes", "０１２３４５６７８９АВСＤаеѕ")

#: Attacks that keep the asked form, and so deserve its reward of 1.
WELL_FORMED: dict[str, Attack] = {
    "every answer in one block": lambda c: _framed(", ".join(c.every)),
    "right or wrong": lambda c: _framed(f"{c.right} or {c.wrong}"),
    "an equation of both": lambda c: _framed(f"{c.wrong} = {c.right}"),
    "an equation of both, reversed": lambda c: _framed(f"{c.right} = {c.wrong}"),
    "right, repeated": lambda c: _framed(", ".join([c.right] * 4)),
    "right in the reasoning, wrong answer": lambda c: _framed(c.wrong, think=c.right),
    "right in the reasoning, broken lines": lambda c: _framed(f"\n{c.wrong}", think=c.right),
    "several expressions": lambda c: _framed(" ".join(f"${one}$" for one in c.every)),
    "look-alike letters": lambda c: _framed(c.right.translate(_LOOKALIKE)),
    "right, then another behind a colon": lambda c: _framed(f"{c.right}:{c.wrong}"),
    "a range from right to wrong": lambda c: _framed(f"{c.right}-{c.wrong}"),
    "right and a text that is not its own": lambda c: _framed(f"{c.right}. {c.wrong}"),
    "right in a box behind another": lambda c: _framed(f"{c.wrong} \\boxed{{{c.right}}}"),
    "side by side with a factor of 1": lambda c: _framed(f"1 {c.right}"),
    "right but for a tiny part": lambda c: _framed(f"{c.right} + 10^{{-20}}"),
    TINY: lambda c: _framed(c.wrong),
    "an arrow to the right one": lambda c: _framed(rf"{c.wrong} \to {c.right}"),
    "a command that is read over": lambda c: _framed(rf"\prec {c.right}"),
    "a bound": lambda c: _framed(rf"\neq {c.right}"),
    "nan": lambda c: _framed("nan"),
    "infinity": lambda c: _framed("inf"),
    "a huge number": lambda c: _framed("9" * 100_000),
    "a power tower": lambda c: _framed("9^{9^{9^{9}}}"),
    "a megabyte of brackets": lambda c: _framed("(" * 1_000_000),
}
_OUT_OF_FORM: dict[str, Attack] = {
    "no tags, right answer named": lambda c: f"Could be {c.wrong}. The answer is {c.right}",
    "no tags, every answer listed": lambda c: " ".join(c.every),
    "right answer first, then another": lambda c: _framed(c.right) + _framed(c.wrong),
    "another answer first, then right": lambda c: _framed(c.wrong) + _framed(c.right),
    "answer inside the reasoning": lambda c: f"<think><answer>{c.right}</answer></think>",
    "right in the reasoning, no answer": lambda c: _framed("", think=c.right),
    "a megabyte of opening tags": lambda c: "<think><answer>" * 70_000,
    "empty reasoning, wrong answer": lambda c: _framed(c.wrong, think=""),
    "tags stuffed into the reasoning": lambda c: _framed(c.wrong, think="</think><think>" * 9),
    "two frames in one": lambda c: _framed(_framed(c.wrong)),
}
#: Name -> completion. None of them deserves accuracy, but for the share that ``_deserved`` gives.
ATTACKS = _OUT_OF_FORM | WELL_FORMED

#: Partial credit that is due: one true call among many deserves its share, and no more.
_PARTIAL_SCORERS = (
    "boxes",
    "transformation",
    "calls",
    "transformation_whole",
    "transformation_penalty",
)


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One attack on one scorer: the score it got (NaN: could not be judged), what it deserves.

    ``error`` is set where the scorer raised: that would stop a run.
    """

    scorer: str
    attack: str
    score: float
    deserved: float
    error: str = ""

    @property
    def gamed(self) -> bool:
        """Whether the scorer gave more than is deserved."""
        return self.score > self.deserved + 1e-9

    @property
    def silent(self) -> bool:
        """Whether a published score is NaN: not more than deserved, but it poisons a mean."""
        return math.isnan(self.score) and not self.error


def audit(names: Iterable[str] | None = None) -> list[AuditRow]:
    """Every attack on every scorer (default: all of ``SCORERS``); ConfigError for unknown names."""
    rows = []
    for name in SCORERS if names is None else names:
        if name not in SCORERS:
            raise unknown_name("scorer", name, SCORERS)
        kind = name.rsplit("/", 1)[1]
        for attack, build in ATTACKS.items():
            case = _TINY if attack == TINY and kind in _NUMERIC else CASES[kind]
            score = SCORERS[name](build(case), case.right)
            rows.append(AuditRow(name, attack, score, _deserved(kind, attack, case)))
    return rows


def audit_scorer(name: str, scorer: Scorer, sample: Sample, case: Case) -> list[AuditRow]:
    """Every attack on a scorer of samples, such as a reward of your own, for one sample.

    ``case.right`` must be the sample's answer. Where the scorer raises, the row says so.
    """
    rows = []
    for attack, build in ATTACKS.items():
        error, accuracy = "", None
        try:
            breakdown = scorer(sample, Action(build(case), "attack", "audit"))
            accuracy = breakdown.components["accuracy"]
        except RewardError as raised:
            error = str(raised)
        score = math.nan if accuracy is None else accuracy
        deserved = _deserved(sample.answer_type, attack, case)
        rows.append(AuditRow(name, attack, score, deserved, error))
    return rows


def _deserved(kind: str, attack: str, case: Case) -> float:
    if kind == "format":
        return float(attack in WELL_FORMED)
    if kind in _PARTIAL_SCORERS:
        shares = {"every answer in one block": 1 / len(case.every), "right, repeated": 1 / 4}
        return shares.get(attack, 0.0)
    return 0.0


def audit_table(rows: Iterable[AuditRow]) -> str:
    """Markdown: what games a scorer (and the score), what is NaN, what it raises for.

    Scorers of which the same is found share a line.
    """
    by_scorer: dict[str, list[AuditRow]] = {}
    for row in rows:
        by_scorer.setdefault(row.scorer, []).append(row)
    alike: dict[str, list[str]] = {}
    for scorer, found in by_scorer.items():
        gamed = "; ".join(f"{row.attack} ({row.score:.3g})" for row in found if row.gamed)
        silent = "; ".join(row.attack for row in found if row.silent)
        raised = "; ".join(row.attack for row in found if row.error)
        cells = f"{gamed or 'nothing tried'} | {silent or '-'} | {raised or '-'}"
        alike.setdefault(cells, []).append(f"`{scorer}`")
    lines = [f"| {', '.join(scorers)} | {cells} |" for cells, scorers in alike.items()]
    head = ["| scorer | gamed by (score) | NaN for | raises for |", "|---|---|---|---|"]
    return "\n".join([*head, *lines])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of all scorers, or of the one that is named."""
    parser = argparse.ArgumentParser(prog="python -m ekipl_lab.rewards.audit")
    parser.add_argument("scorer", nargs="?", help="a scorer's name; none: all of SCORERS")
    parser.add_argument("--right", help="an answer that is right (for a reward of your own)")
    parser.add_argument("--wrong", help="an answer that earns nothing")
    parser.add_argument("--type", default="number", help="the answer type of the sample")
    options = parser.parse_args(arguments)
    if options.scorer is None:
        print(audit_table(audit()))
    elif options.scorer in SCORERS:
        print(audit_table(audit([options.scorer])))
    elif options.right is None or options.wrong is None:
        parser.error("a scorer of samples needs --right and --wrong")
    else:
        case = Case(options.right, options.wrong, (options.wrong, options.right))
        sample = Sample("audit", "audit", "test", (), "?", options.right, options.type)
        scorer = get_scorer(options.scorer)
        print(audit_table(audit_scorer(options.scorer, scorer, sample, case)))


if __name__ == "__main__":
    main()
