"""Typed matchers and the default scorer, by hand-computed values."""

import threading
from dataclasses import replace

import pytest
from PIL import Image

from ekipl_lab.errors import ConfigError, RewardError
from ekipl_lab.rewards import check_ground_truth, get_scorer
from ekipl_lab.rewards.calls import Call, match_calls, read_calls
from ekipl_lab.rewards.matchers import (
    Truth,
    match_letter,
    match_number,
    match_numbers,
    match_text,
)
from ekipl_lab.rewards.mathematics import MathWorker, match_math, math_equal
from ekipl_lab.types import Action, Sample

SAMPLE = Sample(
    id="own/1",
    task="counting",
    split="test",
    images=(Image.new("RGB", (8, 8)),),
    question="?",
    answer="4",
    answer_type="number",
)


def act(text: str) -> Action:
    return Action(text, source="policy", model_id="m")


def well_formed(answer: str) -> Action:
    return act(f"<think>So.</think><answer>{answer}</answer>")


@pytest.mark.parametrize(
    ("answer", "truth", "value"),
    [
        ("4", Truth("4"), 1.0),
        ("4.0", Truth("4"), 1.0),
        ("+4", Truth("4"), 1.0),
        ("8/2", Truth("4"), 1.0),
        ("−3", Truth("-3"), 1.0),
        ("1,000", Truth("1000"), 1.0),
        ("1e3", Truth("1000"), 1.0),
        (".5", Truth("1/2"), 1.0),
        ("5", Truth("4"), 0.0),
        ("4 5", Truth("4"), 0.0),
        ("four", Truth("4"), 0.0),
        ("４", Truth("4"), 0.0),
        ("1/0", Truth("4"), 0.0),
        ("nan", Truth("4"), 0.0),
        ("inf", Truth("4"), 0.0),
        ("9" * 65, Truth("4"), 0.0),
        ("12345678901234567891", Truth("12345678901234567890"), 0.0),
        ("4.1", Truth("4", tolerance="0.1"), 1.0),
        ("4.1001", Truth("4", tolerance="0.1"), 0.0),
        ("60 degrees", Truth("60", unit="deg"), 1.0),
        ("60°", Truth("60 deg"), 1.0),
        ("60", Truth("60 deg"), 1.0),
        ("60 cm", Truth("60 deg"), 0.0),
        ("60 cm", Truth("60"), 0.0),
        ("12 cm²", Truth("12", unit="cm^2"), 1.0),
    ],
)
def test_number(answer: str, truth: Truth, value: float) -> None:
    assert match_number(answer, truth).value == value


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("3, 0, 2", 1.0),
        ("[3 0 2]", 1.0),
        ("3,0,2", 1.0),
        ("3, 2, 0", 0.0),
        ("3, 0", 0.0),
        ("3, 0, 2, 2", 0.0),
        ("3, 0, two", 0.0),
        ("", 0.0),
    ],
)
def test_numbers(answer: str, value: float) -> None:
    assert match_numbers(answer, Truth("3, 0, 2")).value == value


@pytest.mark.parametrize(
    ("answer", "value"),
    [(text, 1.0) for text in ("B", "b", "(B)", "B)", "B.", " B ")]
    + [(text, 0.0) for text in ("A", "AB", "(B", "В", "A B", "B: 30", "")],
)
def test_letter(answer: str, value: float) -> None:
    assert match_letter(answer, Truth("B", letters="ABCD")).value == value


def test_text() -> None:
    assert match_text(" Dark  RED. ", Truth("dark red")).value == 1.0
    assert match_text("dark", Truth("dark red")).value == 0.0
    assert match_text("not dark red", Truth("dark red")).value == 0.0


TWO_CALLS = "change_size(1, small), change_color(0, red)"


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (TWO_CALLS, 1.0),
        ("change_color(0,'red');change_size( 1 , \"small\" )", 1.0),
        ("change_color(0, blue), change_size(1, small)", 0.75),  # (0.5 + 1) / 2
        ("change_color(2, red), change_size(1, small)", 0.75),
        ("change_color(2, blue), change_size(1, small)", 0.625),  # (0.25 + 1) / 2
        ("change_size(1, small)", 0.5),
        ("change_shape(0, cube)", 0.0),
        (TWO_CALLS + ", change_shape(0, cube)", 2 / 3),
        (TWO_CALLS + ", change_color(0, red)", 2 / 3),
        (TWO_CALLS + " or so", 0.0),
        ("I think " + TWO_CALLS, 0.0),
        ("", 0.0),
        ("change_size(1, small)" * 33, 0.0),
    ],
)
def test_calls(answer: str, value: float) -> None:
    assert match_calls(answer, Truth(TWO_CALLS)).value == pytest.approx(value)


def test_calls_are_assigned_for_the_largest_sum_whatever_their_order() -> None:
    truth = Truth("change_color(0, red), change_color(1, blue)")
    # (1, red) shares the value with the first and the object with the second true call; the
    # other given call fits the first only: 0.5 + 0.5, not 0.5 + 0.25.
    for answer in ("change_color(1, red), change_color(0, gray)",
                   "change_color(0, gray), change_color(1, red)"):  # fmt: skip
        assert match_calls(answer, truth).value == pytest.approx(0.5)


def test_read_calls_keeps_order_and_repeats() -> None:
    call = Call("change_size", 1, "small")
    assert read_calls("change_size(1, small)\nchange_size(1,'small').") == [call, call]


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("x+1", 1.0),
        ("1+x", 1.0),
        ("$x + 1$", 1.0),
        ("x+2", 0.0),
        ("", 0.0),
        ("9" * 501, 0.0),
        ("$x+2$ $x+1$", 0.0),
    ],
)
def test_math(answer: str, value: float) -> None:
    assert match_math(answer, Truth("$x+1$")).value == value


def test_math_reads_latex_without_dollars() -> None:
    assert match_math("0.5", Truth(r"\frac{1}{2}")).value == 1.0
    assert match_math(r"\frac{2}{4}", Truth("1/2")).value == 1.0


def test_math_that_never_ends_is_unscorable_not_wrong_and_the_worker_comes_back() -> None:
    worker = MathWorker()
    try:
        assert worker.ask({"gold": "$2$", "text": "$9^{9^{9^{9}}}$"}) is None
        assert worker.ask({"gold": "$2$", "text": "$1+1$"}) is True
    finally:
        worker.close()


def test_math_works_in_threads() -> None:
    found: list[bool | None] = [None] * 8

    def ask(index: int) -> None:
        found[index] = math_equal(f"${index}+x$", f"$x+{index % 4}$")

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 4 + [False] * 4


def test_auto_scores_accuracy_and_format_apart() -> None:
    score = get_scorer("ekipl/auto")
    right = score(SAMPLE, well_formed("4"))
    assert right.components == {"accuracy": 1.0, "format": 1.0}
    assert (right.total, right.success, right.extracted_answer) == (2.0, True, "4")
    unformed = score(SAMPLE, act("<answer>4</answer>"))
    assert unformed.components == {"accuracy": 1.0, "format": 0.0}
    assert unformed.success is True and "missing <think>" in unformed.explanation
    wrong = score(SAMPLE, well_formed("5"))
    assert (wrong.total, wrong.success) == (1.0, False)
    empty = score(SAMPLE, act(""))
    assert (empty.total, empty.success, empty.extracted_answer) == (0.0, False, None)


def test_partial_credit_is_no_success_and_strict_gives_none_of_it() -> None:
    sample = replace(SAMPLE, answer=TWO_CALLS, answer_type="calls")
    half = well_formed("change_size(1, small)")
    partial = get_scorer("ekipl/auto")(sample, half)
    assert (partial.components["accuracy"], partial.success) == (0.5, False)
    strict = get_scorer("ekipl/strict")(sample, half)
    assert (strict.components["accuracy"], strict.success) == (0.0, False)
    assert get_scorer("ekipl/strict")(sample, well_formed(TWO_CALLS)).success is True


def test_weights_change_the_total_and_not_the_success() -> None:
    scored = get_scorer("ekipl/auto", {"accuracy": 2.0})(SAMPLE, well_formed("4"))
    assert (scored.total, scored.success) == (2.0, True)
    with pytest.raises(ConfigError, match="accuracy"):
        get_scorer("ekipl/auto", {"acuracy": 1.0})
    with pytest.raises(ConfigError, match="finite"):
        get_scorer("ekipl/auto", {"accuracy": float("nan")})
    with pytest.raises(ConfigError, match="did you mean 'ekipl/auto'"):
        get_scorer("ekipl/atuo")


def test_tolerance_unit_and_letters_come_from_the_sample() -> None:
    angle = replace(SAMPLE, answer="60", metadata={"tolerance": 0.5, "unit": "deg"})
    for name in ("ekipl/auto", "ekipl/strict", "ekipl/number", "ekipl/math", "ekipl/geometry"):
        score = get_scorer(name)
        assert score(angle, well_formed("60.4°")).success is True
        assert score(angle, well_formed("60.6°")).success is False
    score = get_scorer("ekipl/auto")
    choice = replace(SAMPLE, answer="C", answer_type="letter", choices=("1", "2", "3"))
    assert score(choice, well_formed("(c)")).success is True


@pytest.mark.parametrize(
    ("answer", "answer_type", "metadata", "choices", "names"),
    [
        ("four", "number", {}, (), "not a number"),
        ("", "number", {}, (), "not a number"),
        ("4", "number", {"tolerance": "wide"}, (), "tolerance"),
        ("4", "number", {"tolerance": -1}, (), "negative"),
        ("E", "letter", {}, ("1", "2"), "letters AB"),
        ("", "text", {}, (), "empty"),
        ("1, b", "numbers", {}, (), "list of integers"),
        ("change_weight(0, red)", "calls", {}, (), "change_weight"),
        ("change_color(0, pink)", "calls", {}, (), "pink"),
        ("red", "calls", {}, (), "sequence of calls"),
        (" ", "math", {}, (), "characters"),
        ("4", "integer", {}, (), "Unknown answer type"),
    ],
)
def test_unscorable_ground_truth_is_an_error_that_names_the_sample(
    answer: str, answer_type: str, metadata: dict, choices: tuple, names: str
) -> None:
    sample = replace(
        SAMPLE, answer=answer, answer_type=answer_type, metadata=metadata, choices=choices
    )
    with pytest.raises(RewardError, match="own/1") as caught:
        check_ground_truth(sample)
    assert names in str(caught.value)
    with pytest.raises(RewardError, match="own/1"):
        get_scorer("ekipl/auto")(sample, well_formed("4"))


def test_good_ground_truths_pass() -> None:
    for answer, kind in [("4", "number"), ("B", "letter"), (TWO_CALLS, "calls"), ("x+1", "math")]:
        check_ground_truth(replace(SAMPLE, answer=answer, answer_type=kind))
