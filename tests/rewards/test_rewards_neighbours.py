r"""Each form of a right answer beside what looks like it and must earn nothing."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_rewards import SAMPLE

from ekipl_lab.errors import RewardError
from ekipl_lab.rewards import MATCHERS, check_ground_truth
from ekipl_lab.rewards.matchers import Truth, match_number, match_text, read_number
from ekipl_lab.rewards.mathematics import match_math
from ekipl_lab.rewards.typed import Matcher

#: truth: (forms of it, neighbours that earn nothing), for `number` and `math` alike.
NUMBERS = {
    "24 cm": (
        [r"\(24\) cm", "**24** cm", r"\boxed{24} cm", "$24$ cm", "`24` cm", "*24* cm.",
         r"\[24\] cm", r"**24**\text{ cm}", r"x = **24** cm", r"= \boxed{24} cm",
         "<|begin_of_box|>24<|end_of_box|> cm", "<|begin_of_box|>24 cm<|end_of_box|>"],
        [r"\(24\) m", "**24** kg", r"\boxed{24} 5", r"\(2\)\(4\) cm", "**2** 4 cm", "**24** or 25",
         r"\boxed{24} cm 5", r"\boxed{2} \boxed{4} cm", "**24** cm **5**", r"\(24\) (25)",
         "*24* apples", r"**2**4 cm", r"\boxed{24} \to 25", r"\(24 cm", "**24* cm",
         "<|begin_of_box|>24<|end_of_box|> kg", "<|begin_of_box|>24<|end_of_box|> 5",
         "<|begin_of_box|>2<|end_of_box|><|begin_of_box|>4<|end_of_box|> cm", "24</s>5",
         "<|begin_of_box|>24 cm", "</s>", "2</s>4 cm"],
    ),
    "1/3": (
        [r"0.\overline{3}", r"0.\bar{3}", r"0.\bar3", r"x = 0.\overline{3}", r".\overline{3}",
         r"$0.\overline{33}$", r"0.\dot{3}", r"0.3\overline{3}"],
        ["0.3", r"0.\overline{4}", r"0.\overline{3}5", r"1 0.\overline{3}", r"0.\overline{3} 1",
         r"0.\overline{3}^2", r"0.\overline{34}", r"0.0\overline{3}", r"\overline{3}",
         r"0.\overline{3}.\overline{3}", r"0.\overline{3} or 1", r"1\,0.\overline{3}"],
    ),
    "3/2": (
        ["1 and 1/2", r"1 and \frac{1}{2}", r"1\text{ and }\frac12", "1 and ½"],
        ["1 and 3/2", "1 and 1", "1 and 1/2 and 1", "1/2 and 1", "3 and 1/2", "1 or 1/2",
         "1, 1/2", "1 and", "and 1/2", "3/2 and 0/2", "0 and 3/2", "1 and 2/1", "3 and 2/4"],
    ),
    "5": (
        ["(5)", "= 5", r"\left(5\right)", "( 5 )", "x = (5)", "(x = 5)", "=5", "$= 5$"],
        ["(4)", "= 4", "(5", "5)", "(5)(6)", "(5, 6)", "4 = 5", "== 5", "!= 5", "(5) 6",
         "= 5 = 6", "≠ 5", "=/= 5", "(5) or (6)", "5 =", "(-5)", "= -5"],
    ),
    "10": (
        ["10", "10.0"],
        ["10 am", "10am", "10 a.m.", "10 AM", "10 pm", "10:00", "10th", "10 o'clock", "10 more",
         "10 less", "10 increase", "10 loss", "10 noon", "10t", "10c", "10ab", "10 per", "10d",
         r"10\text{ am}", r"10\text{th}", r"10^{th}", r"10^\text{th}"],
    ),
    "1": (["1"], ["1st", "1 st", r"1^{st}", "first", "1. st"]),
    "3": (["3"], ["3rd", "3ab", "3 rd", "3 sue", "3 bc", "3o"]),
}  # fmt: skip


@pytest.mark.parametrize("match", [match_number, match_math])
@pytest.mark.parametrize("truth", NUMBERS)
def test_a_form_is_right_and_its_neighbours_are_not(truth: str, match: Matcher) -> None:
    right, wrong = NUMBERS[truth]
    assert [answer for answer in right if match(answer, Truth(truth)).value != 1.0] == []
    assert [answer for answer in wrong if match(answer, Truth(truth)).value != 0.0] == []


#: The same for expressions.
EXPRESSIONS = {
    "(-2,3)": (
        ["A(-2,3)", "A (-2, 3)", r"A\left(-2,3\right)", "B'(-2,3)", "(-2, 3)", "A = (-2,3)"],
        ["A(-2,4)", "a(-2,3)", "2(-2,3)", "AB(-2,3)", "A(-2,3), B(1,2)", "A(-2,3) B(1,2)",
         "A(3,-2)", "-A(-2,3)", "A(-2,3)A(1,1)", "-(-2,3)"],
    ),
    r"\frac{\sqrt{3}}{2}": (
        [r"\cos 30^\circ", r"\cos(30^\circ)", r"\cos{30^\circ}", "cos 30°", "cos(30°)",
         r"\sin 60^{\circ}", r"\cos\left(30^\circ\right)", r"\sin(90^\circ - 30^\circ)"],
        [r"\cos 30", "cos(30)", r"\sin 30^\circ", r"\cos 30^\circ + 1", r"\cos 330",
         r"30^\circ", r"\cos 3^\circ 0"],
    ),
    r"\cos 30": ([r"\cos(30)"], [r"\cos 30^\circ", r"\frac{\sqrt3}{2}"]),
    "2t": (["t + t", "2 t"], ["2", "2 t^2", "2s"]),
    "5m": (["m \\cdot 5", "5m"], ["5", "5 cm", "5^m"]),
    "3ab": (["3ba"], ["3", "3a", "3 a.b."]),
    r"2\pi h": ([r"2h\pi"], [r"2\pi", r"2\pi\text{ h}"]),
    r"2\sqrt{3}": (
        [r"2\sqrt{3}\text{ m}", "2√3 m", "2√3 cm", r"2\sqrt{3}\text{ square units}",
         r"\(2\sqrt{3}\) cm", r"\boxed{2\sqrt3}"],
        ["2√3 h", "2√3 more", r"2\sqrt{3} 1", "2√3 x", r"2\sqrt{3}\text{ apples}"],
    ),
    "(1,2)": (
        ["(1, 2)", r"\left(1,2\right)", "(1.0, 4/2)", "P(1,2)", r"$(1,2)$"],
        [r"\{1,2\}", "{1,2}", "1,2", "1, 2", r"\left\{1,2\right\}", "(2,1)", "[1,2]", "(1,2]",
         "[1,2)", "1 and 2", "x=1,y=2"],
    ),
    r"\{1,2\}": (
        [r"\{2,1\}", "1,2", "2, 1", "{1,2}", r"\left\{1, 2\right\}"],
        ["(1,2)", "(2,1)", r"\left(1,2\right)", "[1,2]", r"\{1\}", r"\{1,2,3\}"],
    ),
    "1,2": (["2,1", r"\{1,2\}", "(1,2)", "1, 2"], ["(2,1)", "[1,2]", "1", "1,2,3", "12"]),
    "x = 1, y = 2": (
        ["y=2, x=1", "1, 2", "(1,2)", "x=1.0,y=4/2", r"\left(1, 2\right)"],
        ["x=2, y=1", "2,1", "(2,1)", r"\{2,1\}", "x=1", "x=1, z=2", "a=1, b=2"],
    ),
    r"\log_2 8": (["3", r"\log_{2}(8)"], [r"\log 8", r"\log_8 2", "8", "2", r"\log_2 8 3"]),
    r"\pm 2": (["±2", r"\pm2"], ["2", "-2", "+2", "∓3", "±3", r"\mp 3"]),
    r"2\text{ or }3": (["3 or 2", r"3\text{ or }2"], ["2", "3", "2 or 4", "2 or 3 or 4", "2 3"]),
    "[1,3)": (
        [r"x\in[1,3)", "x ∈ [1, 3)", r"x \in \left[1,3\right)"],
        [r"x\in(1,3)", "1,3", r"x \in 1,3", r"x \in \{1,3\}", r"x \notin [1,3)"],
    ),
    r"(-\infty,2)\cup(3,\infty)": (
        ["(-∞,2)∪(3,∞)", r"x \in (-\infty,2)\cup(3,\infty)", r"(3,\infty)\cup(-\infty,2)"],
        [r"(-\infty,2)", "(-∞,2)∩(3,∞)", "(-∞,2),(3,∞)", r"x \in (3,\infty)"],
    ),
    r"(-\infty,3]": ([r"(-\infty, 3]"], [r"(-\infty,3)", r"-\infty, 3", r"\{-\infty,3\}"]),
    r"\text{no}": (["no", "No", r"\text{no}", "**no**"], ["on", r"\text{on}", "yes", "0"]),
    "5:00 pm": (["5:00 PM", "5:00 p.m.", "5 pm"], ["5:00", "5:00 am", "17:00", "5", "5 am"]),
}  # fmt: skip


@pytest.mark.parametrize("truth", EXPRESSIONS)
def test_an_expression_is_right_and_its_neighbours_are_not(truth: str) -> None:
    right, wrong = EXPRESSIONS[truth]
    check_ground_truth(replace(SAMPLE, answer=truth, answer_type="math"))
    assert [answer for answer in right if match_math(answer, Truth(truth)).value != 1.0] == []
    assert [answer for answer in wrong if match_math(answer, Truth(truth)).value != 0.0] == []


#: Words in front of the value alone, and neighbours that earn nothing.
SAID = [
    "Answer: {}", "answer is {}", "The answer is {}.", "The final answer is: {}", "Answer:{}",
    "**Answer:** {}", "**Answer**: {}", "**Answer: {}**", "Answer: **{}**", "Answer：{}",
    r"The correct answer is \boxed{{{}}}", "The answer is\n${}$.", "answer = {}",
    "**The answer is** {}",
]  # fmt: skip
NOT_SAID = [
    "The answer is not {}", "Answer: {} or 6", "Answer: 6, {}", "Answer: {} 6", "Answer: 6 = {}",
    "The answer is about {}", "Answer: {} Answer: 6", "Answer: Answer: {}", "**Answer: {}",
    "Answer", "answer isn't {}", "the answers are {}", "The answer is {} more",
    "The answer is less than {}", "Question: {}", "The answer is 6 and not {}",
    "Answer: {}\nAnswer: 6", "I say the answer is {}",
]  # fmt: skip
#: A letter alone, B of A to C.
OPTIONS = [
    "[B]", "[b].", "Option B", "option (B)", "Option [B]", "Choice B.", "The correct option is B",
    "Answer: Option B", "The answer is option (B).", r"\boxed{Option B}", "Choice: B",
]  # fmt: skip
NO_OPTIONS = [
    "[B", "B]", "[[B]]", "Option B or C", "Options B", "Optional B", "Option B, C", "[B] [C]",
    "Option C, not B", "Option not B", "Option", "Option B Option C", "[B] 7 cm",
]  # fmt: skip


@pytest.mark.parametrize(
    ("answer_type", "value"),
    [
        ("number", "5"),
        ("math", "5"),
        ("letter", "B"),
        ("text", "red"),
        ("box", "[1, 2, 30, 40]"),
        ("numbers", "3, 0"),
        ("calls", "change_size(0, small)"),
    ],
)
def test_words_in_front_of_the_value_alone_are_read_over(answer_type: str, value: str) -> None:
    match, truth = MATCHERS[answer_type], Truth(value)
    assert [a for a in SAID if match(a.format(value), truth).value != 1.0] == []
    assert [a for a in NOT_SAID if match(a.format(value), truth).value != 0.0] == []


def test_a_letter_is_named_as_an_option_and_its_neighbours_are_not() -> None:
    match = MATCHERS["letter"]
    for truth in (Truth("B"), Truth("B", letters="ABC", choices=("3 cm", "5 cm", "7 cm"))):
        assert [a for a in OPTIONS if match(a, truth).value != 1.0] == []
        assert [a for a in NO_OPTIONS if match(a, truth).value != 0.0] == []
    assert match("Option B: 5 cm", truth).value == match("[B] 5 cm", truth).value == 1.0
    assert match("Option A: 5 cm", truth).value == 0.0
    assert MATCHERS["number"]("Option 5", Truth("5")).value == 0.0
    named = Truth("A", letters="AB", choices=("Option B", "Option A"))
    assert (match("Option B", named).value, match("Option A", named).value) == (1.0, 0.0)


WRAPPERS = ["{}", "**{}**", r"\({}\)", "${}$", r"\boxed{{{}}}", "`{}`", "= {}", "({})"]
INTEGERS = st.integers(-10_000, 10_000)


@settings(max_examples=200, deadline=None)
@given(INTEGERS, INTEGERS, st.sampled_from(WRAPPERS), st.sampled_from(["", " cm", r"\text{ cm}"]))
def test_a_wrapped_number_is_that_number_and_no_other(
    truth: int, other: int, wrapper: str, unit: str
) -> None:
    if wrapper == "({})" and unit:
        unit = ""
    for value in (truth, other):
        found = match_number(wrapper.format(value) + unit, Truth(str(truth), unit="cm"))
        assert found.value == float(value == truth)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 999),
    st.text("0123456789", max_size=4),
    st.text("0123456789", min_size=1, max_size=6),
)
def test_a_repeating_decimal_is_its_exact_fraction(whole: int, fixed: str, cycle: str) -> None:
    """x = n.fccc... is what solves 10^(f + c) x - 10^f x = the whole numbers between."""
    read = read_number(rf"{whole}.{fixed}\overline{{{cycle}}}")
    assert read is not None
    shifted = read[0] * 10 ** len(fixed)
    assert shifted * 10 ** len(cycle) - shifted == int(f"{whole}{fixed}{cycle}") - int(
        f"{whole}{fixed}"
    )


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 99), st.integers(1, 99), st.integers(2, 99))
def test_a_mixed_number_with_and_has_a_proper_fraction(whole: int, part: int, over: int) -> None:
    read = read_number(f"{whole} and {part}/{over}")
    assert (read is not None) == (part < over)
    assert read is None or read[0] * over == whole * over + part


@pytest.mark.parametrize(
    ("kind", "truth"),
    [("number", "24"), ("math", r"\frac{1}{2}"), ("letter", "B"), ("text", "dark red"),
     ("numbers", "3, 0, 2"), ("calls", "change_size(0, small)"), ("box", "[1, 2, 3, 4]"),
     ("boxes", "[[1, 2, 3, 4]]"), ("point", "[1, 2]")],
)  # fmt: skip
def test_box_and_end_tokens_around_an_answer_are_no_part_of_it(kind: str, truth: str) -> None:
    """GLM's own answers, and servers that leave special tokens in the text."""
    forms = ["<|begin_of_box|>{}<|end_of_box|>", "<|begin_of_box|>**{}**<|end_of_box|><|user|>"]
    for form in (*forms, "{}</s>", "{}<|im_end|>\n", "{} <|eot_id|>", "{}<|endoftext|><|im_end|>"):
        assert MATCHERS[kind](form.format(truth), Truth(truth)).value == 1.0, form
        assert MATCHERS[kind](form.format("7"), Truth(truth)).value == 0.0, form


def test_wrappers_within_a_text_stay_words() -> None:
    assert match_text("**dark** red", Truth("dark red")).value == 0.0


@pytest.mark.parametrize(
    ("truth", "names"),
    [("red", "'red' is a word"), ("Yes", "is a word"), ("theta", "is a word"), ("3 4", "side by"),
     ("5 h 4 min", "side by side"), ("3(4", "other half"), ("3}4", "other half"), ("log 2", "word"),
     ("5 apples", "'apples' is a word"), ("5 ft 4 in", "side by side"), ("x + one", "'one'"),
     (r"\sqrt{2} 3", "side by side"), ("[1, 2", "other half"),
     ("no", "'no' is a word"), ("DNE", "'DNE' is a word"), ("N/A", "is a word"), ("NaN", "a word"),
     ("5 🍎", "'🍎' in it is not read"), (r"\foo{5}", "in it is not read"), ("#5", "'#' in it"),
     ("5?", "'?' in it"), ("3…", "'…' in it"), (r"\foo", "in it is not read"),
     ("=", "only a part"), ("?", "only a part"), ("5 +", "only a part"), ("|x", "only a part")],
)  # fmt: skip
def test_a_truth_that_is_no_mathematics_is_refused_by_record(truth: str, names: str) -> None:
    with pytest.raises(RewardError, match="own/1") as caught:
        check_ground_truth(replace(SAMPLE, answer=truth, answer_type="math"))
    assert names in str(caught.value)


@pytest.mark.parametrize(
    "truth",
    ["abc", "2xyz", "ABC", r"\text{red}", "1 1/2", r"\frac12", r"\binom 5 2", r"\log_2 3", "[1,2)",
     r"x=1\text{ or }x=2", "x=1 or x=2", r"(-\infty,3]", "36π cm³", r"2 \sqrt { 13 }", "5 cm",
     r"\frac { \sqrt { 3 } } 2", "10 km/h", "50 percent", r"\left\{1, 2\right.", "y = 2x + 1",
     r"\begin{pmatrix}1 & 2\\3 & 4\end{pmatrix}", r"\operatorname{lcm}(4,6)", "sin(x)", "9:05",
     "5:00 pm", r"\text{DNE}", r"AB \parallel CD", r"\triangle ABC", "BAC", "at", "x ≠ 5",
     r"1 \to 2", r"\ell", r"\mathcal{A}", "{1, 2}", "x = 1, y = 2", r"0.\overline{3}",
     r"5 \mathrm { ~ cm }", r"x \in \{1, 2\}", "1,000", "$5"],
)  # fmt: skip
def test_a_truth_that_is_mathematics_is_sound(truth: str) -> None:
    check_ground_truth(replace(SAMPLE, answer=truth, answer_type="math"))


def test_a_unit_of_the_data_is_taken_off_a_truth_of_mathematics() -> None:
    apples = replace(SAMPLE, answer="5 apples", answer_type="math", metadata={"unit": "apples"})
    check_ground_truth(apples)
    truth = Truth("5 apples", unit="apples")
    given = {answer: match_math(answer, truth).value for answer in ("5", "5 apples", "5 pears")}
    assert given == {"5": 1.0, "5 apples": 1.0, "5 pears": 0.0}
