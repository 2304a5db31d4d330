"""The published scores against a second implementation of the rules, written for this test.

It uses the plain regular expressions that the rules are stated in, exact fractions, and
math-verify in the test's own process; the library uses linear searches and a worker process.
"""

import math
import random
import re
from fractions import Fraction

import pytest
from examples import examples
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from math_verify import parse, verify

from ekipl_lab.rewards import SCORERS, get_scorer
from ekipl_lab.types import Action, Sample

# --- the rules, a second time -------------------------------------------------------------------

ANSWER = re.compile(r"<answer>(.*?)</answer>", re.S)
LINE_ANSWER = re.compile(r"<answer>(.*?)</answer>")
CALL = re.compile(r"(\w+)\((\w+),\s*'?(\w+)'?\)")


def rule_format(completion: str) -> float:
    return float(
        re.fullmatch(r"<think>.*?</think>\s*<answer>.*?</answer>", completion, re.S) is not None
    )


def inside(pattern: "re.Pattern[str]", text: str) -> str:
    found = pattern.search(text)
    return (found[1] if found else text).strip()


def rule_math(one: str, other: str) -> float:
    first, second = (parse(text, parsing_timeout=None) for text in (one, other))
    return float(verify(first, second, timeout_seconds=None))


def rule_train(completion: str, truth: str) -> float:
    if inside(ANSWER, completion) == inside(ANSWER, truth):
        return 1.0
    return 0.0 if ANSWER.search(completion) else rule_math(completion, truth)


def rule_numeric(completion: str, truth: str) -> float:
    text, wanted = inside(ANSWER, completion), inside(ANSWER, truth)
    try:
        p, g = float(text), float(wanted)
    except ValueError:
        score = 1.0 if text == wanted else 0.0
    else:
        d, a = abs(p - g), abs(g)
        if d < 0.05 * a:
            score = 1.0
        elif d > 0.2 * a:
            score = 0.0
        else:
            try:
                score = 0.5 * (1 + math.cos(math.pi * ((d - 0.05 * a) / (0.15 * a))))
            except ZeroDivisionError:
                score = 0.0
    if score == 0.0 and not ANSWER.search(completion):
        return rule_math(completion, truth)
    return score


def rule_matched(given: list, truth: list, weights: tuple[float, ...]) -> Fraction:
    """Each distinct true call is struck out by the first distinct call that fits, tier by tier."""
    left, open_truth, total = sorted(set(given), key=given.index), [], Fraction(0)
    open_truth = sorted(set(truth), key=truth.index)
    tiers = [lambda c: c, lambda c: c[:2], lambda c: (c[0], c[2]), lambda c: c[0]]
    for view, weight in zip(tiers, weights, strict=True):
        for call in list(left):
            partner = next((t for t in open_truth if view(t) == view(call)), None)
            if partner is not None:
                left.remove(call)
                open_truth.remove(partner)
                total += Fraction(weight)
    return total


def rule_calls(text: str, truth: str, weights: tuple[float, ...], *, penalty: bool) -> float:
    given, wanted = CALL.findall(text), CALL.findall(truth)
    if not given or not wanted:
        return 0.0
    share = Fraction(len(set(given)), len(given)) if penalty else Fraction(1)
    size = max(len(set(given)), len(set(wanted)))
    return float(share * rule_matched(given, wanted, weights) / size)


def rule_eval(completion: str, truth: str) -> float:
    found = ANSWER.search(completion)
    if found:
        answer = found[1].strip()
        return 1.0 if answer == truth else rule_math(answer, truth)
    return 1.0 if completion.strip() == truth.strip() else rule_math(completion, truth)


PARTIAL, WHOLE, PENALTY = (1, 0.5, 0.5, 0.25), (1, 0, 0, 0), (1, -0.25, -0.25, -0.5)

RULES = {
    "reason_rft/train/format": lambda c, t: rule_format(c),
    "reason_rft/train/counting": rule_train,
    "reason_rft/train/geometry": rule_train,
    "reason_rft/train/geometry_numeric": rule_numeric,
    "reason_rft/train/transformation": lambda c, t: rule_calls(
        inside(ANSWER, c), t, PARTIAL, penalty=True
    ),
    "reason_rft/train/transformation_whole": lambda c, t: rule_calls(
        inside(ANSWER, c), t, WHOLE, penalty=True
    ),
    "reason_rft/train/transformation_penalty": lambda c, t: rule_calls(
        inside(ANSWER, c), t, PENALTY, penalty=True
    ),
    "reason_rft/eval/counting": rule_eval,
    "reason_rft/eval/geometry": rule_eval,
    "reason_rft/eval/transformation": lambda c, t: rule_calls(
        inside(LINE_ANSWER, c), t, PARTIAL, penalty=False
    ),
}

# --- strings ------------------------------------------------------------------------------------

TAGS = ["<think>", "</think>", "<answer>", "</answer>", "<answer", "< answer>", "</Answer>"]
WORDS = [" ", "\n", "\t", "\u2003", "so", "4", "4.0", "A", "(A)", "-", "1/2", ",", "nan", "é", "\0"]
CALLS = [
    "change_color(0, red)",
    "change_color(0,'red')",
    "change_color(1, red)",
    "change_color(0, blue)",
    "change_size(0, small)",
    "change_size(2,\nlarge)",
    "change_size(0, small",
    "f(f(0, a)",
    "change_color(0, 'red)",
    "change_color (0, red)",
    "größe(1, klein)",
    "(0, red)",
]
NUMBERS = ["4", "4.1", "4.3", "5", "-4", "0", "0.0", "1e3", "inf", "nan", "1_0", "٤", "5e-324", ""]

fragments = st.lists(st.sampled_from(TAGS + WORDS + CALLS), max_size=12).map("".join)
framed = st.builds(
    "<think>{}</think>{}<answer>{}</answer>{}".format,
    st.sampled_from(["x", "", "\n", "<answer>4</answer>"]),
    st.sampled_from(["", " ", "\n\n", "."]),
    st.one_of(fragments, st.lists(st.sampled_from([*CALLS, ", ", "\n"]), max_size=8).map("".join)),
    st.sampled_from(["", "", " ", "<answer>5</answer>", "</answer>"]),
)
completions = st.one_of(fragments, framed)
call_truths = st.lists(st.sampled_from(CALLS[:6]), max_size=4).map(", ".join)


def same(one: float, other: float) -> bool:
    return (math.isnan(one) and math.isnan(other)) or one == pytest.approx(other, abs=1e-12)


NO_CALLS = [name for name in RULES if "transformation" not in name and "format" not in name]
many = settings(max_examples=examples(1500), deadline=None, suppress_health_check=list(HealthCheck))


@many
@given(completions)
def test_format_follows_the_rule(completion: str) -> None:
    assert SCORERS["reason_rft/train/format"](completion, "4") == rule_format(completion)


@many
@given(completions, call_truths, st.sampled_from([n for n in RULES if "transformation" in n]))
def test_transformation_follows_the_rule(completion: str, truth: str, name: str) -> None:
    assert same(SCORERS[name](completion, truth), RULES[name](completion, truth))


@settings(parent=many, max_examples=examples(500))
@given(
    st.one_of(fragments, framed),
    st.sampled_from(["4", "4.0", " 4", "A", "\\frac{1}{2}", "<answer> 4 </answer>", "0", "so"]),
    st.sampled_from(NO_CALLS),
)
def test_accuracy_follows_the_rule(completion: str, truth: str, name: str) -> None:
    assume(len(completion) < 200)
    assert same(SCORERS[name](completion, truth), RULES[name](completion, truth))


@settings(parent=many, max_examples=examples(1000))
@given(
    st.one_of(st.sampled_from(NUMBERS), st.floats(-200, 200).map(str)),
    st.one_of(st.sampled_from(NUMBERS), st.floats(-200, 200).map(str)),
)
def test_numeric_form_follows_the_rule(answer: str, truth: str) -> None:
    name = "reason_rft/train/geometry_numeric"
    text = f"<think>x</think><answer>{answer}</answer>"
    assert same(SCORERS[name](text, truth), rule_numeric(text, truth))


def invented(rng: random.Random) -> str:
    """A completion of up to nine pieces, framed or not, with pieces that break a pattern inside."""

    def call() -> str:
        function, value = rng.choice(["change_size", "change_color", "move"]), rng.choice("abcd")
        quote, gap = rng.choice(["", "", "'", '"']), rng.choice([", ", ",", " , ", ",\n", ",  "])
        text = f"{function}({rng.randrange(3)}{gap}{quote}{value}{quote})"
        return text if rng.random() < 0.9 else text.replace(*rng.choice(BREAKS))

    pieces = [*TAGS, *WORDS, "\u2028", "\r\n", "; "]
    text = "".join(
        call() if rng.random() < 0.5 else rng.choice(pieces) for _ in range(rng.randrange(10))
    )
    think, gap = rng.choice(["", call(), "x\n"]), rng.choice(["", " ", "\n", "\u00a0", "."])
    return text if rng.random() < 0.3 else f"<think>{think}</think>{gap}<answer>{text}</answer>"


BREAKS = [("(", " ("), ("(", "( "), (")", " )"), (")", ""), ("(", "(obj"), ("_", "."), ("(", "((")]


def test_twenty_thousand_invented_strings_follow_the_rules() -> None:
    """What needs no mathematics; of the scores some are 0, some 1 and some between."""
    rng = random.Random(20250606)
    names = [name for name in RULES if "transformation" in name or "format" in name]
    seen: dict[str, set[float]] = {name: set() for name in names}
    for _ in range(20_000):
        completion, name = invented(rng), rng.choice(names)
        truth = ", ".join(
            f"change_{rng.choice(['size', 'color'])}({rng.randrange(3)}, {rng.choice('abc')})"
            for _ in range(rng.randrange(1, 4))
        )
        score = SCORERS[name](completion, truth)
        assert same(score, RULES[name](completion, truth)), (name, completion, truth)
        seen[name].add(round(score, 6))
    assert all({0.0, 1.0} <= values for values in seen.values())
    assert min(len(values) for name, values in seen.items() if "transf" in name) > 5


# --- single values, by hand ---------------------------------------------------------------------


def tagged(answer: str) -> str:
    return f"<think>x</think><answer>{answer}</answer>"


@pytest.mark.parametrize(
    ("name", "completion", "truth", "value"),
    [
        ("train/format", tagged("4"), "4", 1.0),
        ("train/format", tagged("4") + " ", "4", 0.0),
        ("train/format", tagged("4") + tagged("5"), "4", 1.0),  # quirk: only the frame counts
        ("train/counting", tagged("4") + tagged("5"), "4", 1.0),  # quirk: the first answer counts
        ("train/counting", tagged("4.0"), "4", 0.0),
        ("train/counting", "The answer is 4.", "4", 1.0),  # quirk: math-verify of the whole text
        ("train/counting", "4.0", "4", 1.0),
        ("train/counting", tagged("4"), "<answer> 4 </answer>", 1.0),
        ("eval/counting", tagged("4.0"), "4", 1.0),
        ("eval/geometry", tagged("(A)"), "A", 0.0),
        ("train/geometry_numeric", tagged("104"), "100", 1.0),
        ("train/geometry_numeric", tagged("105"), "100", 1.0),  # cos(0)
        ("train/geometry_numeric", tagged("112.5"), "100", 0.5),
        ("train/geometry_numeric", tagged("121"), "100", 0.0),
        ("train/geometry_numeric", tagged("0"), "0", 0.0),  # quirk: divides by zero
        ("train/geometry_numeric", tagged("nan"), "4", math.nan),  # quirk
        ("train/transformation", tagged("f(0, a), f(0, a)"), "f(0, a)", 0.5),
        ("train/transformation", tagged("f(0, a), g(1, b)"), "f(0, b), g(2, c)", 0.375),
        ("train/transformation_whole", tagged("f(0, a), g(1, b)"), "f(0, a), g(2, b)", 0.5),
        ("train/transformation_penalty", tagged("f(0, a)"), "f(1, a)", -0.25),
        ("train/transformation_penalty", tagged("f(0, a)"), "f(1, b)", -0.5),
        ("eval/transformation", tagged("f(0, a), f(0, a)"), "f(0, a)", 1.0),  # repeats are free
        ("eval/transformation", tagged("f(0, a)\n"), "f(0, a)", 1.0),
        # quirk: a multi-line answer falls back to the whole text, the think part included
        ("eval/transformation", "<think>f(0, a)</think><answer>\nno</answer>", "f(0, a)", 1.0),
        ("train/transformation", "<think>f(0, a)</think><answer>\nno</answer>", "f(0, a)", 0.0),
        ("eval/transformation", tagged("f(0, a)"), "no calls", 0.0),
    ],
)
def test_single_values(name: str, completion: str, truth: str, value: float) -> None:
    assert same(SCORERS[f"reason_rft/{name}"](completion, truth), value)


@pytest.mark.parametrize(
    ("name", "completion", "truth", "value"),
    [
        ("format", tagged("4"), "4", 1.0),
        ("format", tagged("4") + tagged("5"), "4", 0.0),
        ("counting", tagged("4.0"), "4", 1.0),
        ("counting", tagged("4") + tagged("5"), "4", 0.0),
        ("counting", "4", "4", 0.0),
        ("geometry", tagged("(b)"), "B", 1.0),
        ("geometry", tagged("12.0 cm"), "12 cm", 1.0),
        ("geometry", tagged("2\\sqrt{3}"), "\\sqrt{12}", 1.0),
        ("transformation", tagged("change_size(1, small)"), "change_size(0, small)", 0.5),
        ("transformation_strict", tagged("change_size(1, small)"), "change_size(0, small)", 0.0),
        ("transformation_strict", tagged("change_size(0, small)"), "change_size(0, small)", 1.0),
        ("text", tagged("Red."), "red", 1.0),
        ("numbers", tagged("1 2"), "1, 2", 1.0),
    ],
)
def test_corrected_forms(name: str, completion: str, truth: str, value: float) -> None:
    assert SCORERS[f"ekipl/{name}"](completion, truth) == value


def test_published_scorers_work_on_samples_by_task() -> None:
    sample = Sample("a", "counting", "test", (), "?", "4", "number")
    action = Action("The answer is 4.", "policy", "m")
    train = get_scorer("reason_rft/train")(sample, action)
    assert train.components == {"accuracy": 1.0, "format": 0.0} and train.success is True
    assert get_scorer("ekipl/auto")(sample, action).success is False
    assert get_scorer("reason_rft/eval")(sample, action).explanation == "reason_rft/eval/counting"
    numeric = get_scorer("reason_rft/train/geometry_numeric")
    assert numeric(sample, Action(tagged("nan"), "policy", "m")).success is None
