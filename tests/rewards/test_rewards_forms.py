r"""Other forms of a right answer earn 1; what only begins right, or is as small, earns nothing."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from paths import ROOT
from test_rewards import SAMPLE, well_formed

from ekipl_lab.commands.cli import main
from ekipl_lab.errors import RewardError
from ekipl_lab.evaluation import read_records
from ekipl_lab.rewards import MATCHERS, check_ground_truth, get_scorer
from ekipl_lab.rewards.audit import TINY, audit
from ekipl_lab.rewards.matchers import Truth, match_letter, match_number, match_text
from ekipl_lab.rewards.mathematics import match_math, math_equal


@pytest.mark.parametrize(
    "truth",
    ["12:30", "3:00", "3,5", "1.000,5", "1,00", "10-12", "2024-05-01", "3m 20s", "3 x 4", "3 4",
     "3)", "5+", "1.5.2", "3 (left)", "0x10", "5 and 6", "3 o'clock", "7 apples", "٣", "1e5000",
     "5k", "5M", "2n", "5!", "5²", "30°15'", "±5", "1,2345", "12 345 6", "-", "", "3 1/0", "1/2/3",
     "2024/05", "05/2024", "3 of 4", "3/"],
)  # fmt: skip
def test_a_truth_that_is_not_one_number_is_refused_by_record(truth: str) -> None:
    with pytest.raises(RewardError, match=r"own/1.*is not a number"):
        check_ground_truth(replace(SAMPLE, answer=truth))


@pytest.mark.parametrize(
    ("truth", "right", "leading"),
    [
        ("1 000", "1000", "1"),
        ("3 1/2", "3.5", "3"),
        ("10^3", "1000", "10"),
        ("1.5e3", "1500", "1.5"),
        (r"1.6\times10^{-19}", "1.6e-19", "1.6"),
        ("½", "0.5", "1"),
        ("12 cm²", "12", "1"),
        ("1e400", "1e400", "1"),
        ("-2½", "-2.5", "-2"),
        ("1 / 4", "0.25", "1"),
        ("1⁄4", "0.25", "1"),
        ("–5", "-5", "5"),
        ("0/3", "0", "3"),
        (r"\frac{0}{1}", "0", "1"),
    ],
)
def test_a_number_is_read_whole(truth: str, right: str, leading: str) -> None:
    check_ground_truth(replace(SAMPLE, answer=truth))
    assert match_number(right, Truth(truth)).value == 1.0
    assert match_number(leading, Truth(truth)).value == 0.0
    assert match_number(truth, Truth(leading)).value == 0.0


@pytest.mark.parametrize("truth", ["<answer>4</answer>", "red</think>"])
def test_a_truth_that_no_completion_can_hold_is_refused_by_record(truth: str) -> None:
    with pytest.raises(RewardError, match=r"own/1.*parts a completion"):
        check_ground_truth(replace(SAMPLE, answer=truth, answer_type="text"))


def test_a_unit_of_the_data_makes_a_truth_one_number() -> None:
    apples = replace(SAMPLE, answer="7 apples", metadata={"unit": "apples"})
    check_ground_truth(apples)
    score = get_scorer("ekipl/auto")
    given = {a: score(apples, well_formed(a)).success for a in ("7", "7 apples", "7 pears", "8")}
    assert given == {"7": True, "7 apples": True, "7 pears": False, "8": False}


@pytest.mark.parametrize(
    "answer",
    ["5", "5 cm", "5.0 cm", "$5$", "$$5$$", r"\(5\)", r"\[5\]", r"\boxed{5}", "**5**", "`5`", '"5"',
     r"5\text{ cm}", r"5\,\text{cm}", r"$\boxed{5\,\mathrm{cm}}$", "5\u00a0cm", "10/2", "5 Cm.",
     "x = 5", "5~cm", r"5~\mathrm{cm}", r"\overline{AB} = 5", "f(2) = 5 cm", r"\text{AB} = 5",
     "x_{1} = 5", "5 cm = x", r"$AB = 5\text{ cm}$"],
)  # fmt: skip
def test_a_number_in_another_form(answer: str) -> None:
    assert match_number(answer, Truth("5", unit="cm")).value == 1.0


@pytest.mark.parametrize(
    "answer",
    [
        "5 kg",
        "5 6",
        "5:1",
        "5-6",
        "$5$ $6$",
        r"\boxed{5}6",
        "5 cm 6",
        "x = 4 = 5",
        "4 = 5",
        "$5",
        "5...",
        "5~4",
        r"\text{not} = 5",
    ],
)
def test_a_number_and_more_is_not_that_number(answer: str) -> None:
    assert match_number(answer, Truth("5", unit="cm")).value == 0.0


@pytest.mark.parametrize("answer", ["$5", r"\$5.00", "5 $", "5 dollars", "$ 5", "5"])
def test_a_currency_stands_on_either_side(answer: str) -> None:
    assert match_number(answer, Truth("$5")).value == 1.0
    assert match_number("-$1,234.50", Truth("-1234.5", unit="$")).value == 1.0
    assert match_number("€5", Truth("$5")).value == 0.0


def test_a_fraction_below_zero() -> None:
    for answer, value in {r"\frac{-1}{2}": 1.0, r"-\frac{1}{2}": 1.0, r"\frac12": 0.0}.items():
        assert match_number(answer, Truth("-0.5")).value == value


@pytest.mark.parametrize("truth", ["1,000, 2", "1 050", "5; 1,000; 2"])
def test_a_list_whose_numbers_cannot_be_told_apart_is_refused(truth: str) -> None:
    with pytest.raises(RewardError, match="not a list of integers"):
        check_ground_truth(replace(SAMPLE, answer=truth, answer_type="numbers"))
    assert MATCHERS["numbers"](truth, Truth("1, 0, 2")).value == 0.0


CHOICES = ("3 cm", "5 cm", "7 cm")


@pytest.mark.parametrize(
    ("answer", "value"),
    [(a, 1.0) for a in ("B", "b.", "B. 5 cm", "(B) 5 cm", "B: 5 cm", "b) 5 cm", "B - 5 CM.",
                        "**B**", "**B**.", "**B.** 5 cm", r"\boxed{B}", r"\text{B}", "$B$",
                        r"$\boxed{\text{B}}$", "5 cm", r"B. 5\text{ cm}", r"\(\mathrm{B}\)")]
    + [(a, 0.0) for a in ("C. 5 cm", "A. 5 cm", "B. 7 cm", "B or C", "B. 5 cm or C", "7 cm", "5",
                          "**B** or **C**", r"\boxed{B} \boxed{C}", "B, C", "D", "В. 5 cm")],
)  # fmt: skip
def test_a_letter_with_the_text_of_its_choice(answer: str, value: float) -> None:
    assert match_letter(answer, Truth("B", letters="ABC", choices=CHOICES)).value == value


def test_a_choice_that_stands_twice_is_named_by_its_letter_only() -> None:
    truth = Truth("B", letters="ABC", choices=("red", "red", "blue"))
    assert [match_letter(a, truth).value for a in ("red", "B. red", "A. red")] == [0.0, 1.0, 0.0]


def test_a_choice_whose_text_is_a_letter_is_named_by_either() -> None:
    truth = Truth("B", letters="ABC", choices=("x", "y", "A"))
    given = {a: match_letter(a, truth).value for a in ("y", "Y", "B", "B. y", "x", "A", "z")}
    assert [a for a, value in given.items() if value == 1.0] == ["y", "Y", "B", "B. y"]


def test_choices_reach_the_matcher() -> None:
    sample = replace(SAMPLE, answer="B", answer_type="letter", choices=CHOICES)
    assert get_scorer("ekipl/auto")(sample, well_formed("B. 5 cm")).success is True


@pytest.mark.parametrize(
    ("answer", "truth"),
    [("cafe\u0301", "caf\u00e9"), ("don’t", "don't"), ("“red”", "red"),
     ("**Dark red**", "dark red"),
     (r"\text{dark red}", "dark red"), ("`red`.", "`red`"), ("a\u00a0b", "a b")],
)  # fmt: skip
def test_a_text_in_another_form(answer: str, truth: str) -> None:
    assert match_text(answer, Truth(truth)).value == 1.0
    assert match_text(truth, Truth(answer)).value == 1.0
    assert match_text(answer + " not", Truth(truth)).value == 0.0


@pytest.mark.parametrize(
    ("answer", "truth"),
    [("1,234", "1234"), ("√2", r"\sqrt{2}"), ("2√3", r"2\sqrt{3}"), ("√(x+1)", r"\sqrt{x+1}"),
     ("½", "1/2"), ("1 1/2", "3/2"), (r"1\frac{1}{2}", "1.5"), (r"\[5\]", "5"), ("1e3", "1000"),
     ("**73**", "73"), (r"\boxed{5}", "5"), (r"$\boxed{\frac12}$", "0.5"), ("$5$", "5"),
     (r"5\text{ cm}", "5 cm"), (r"5\text{ cm}", "5"), ("x²", "x^2"), ("x^2", "x²"), ("004", "4"),
     ("5 = x", "5"), ("x = 1 1/2", "3/2"), (r"\theta = 5", "5"), ("x−1", "x-1"), ("10⁻³", "0.001"),
     ("2π", r"2\pi"), (r"\text{13}", "13"), ("0.333333", "1/3"), ("9%", "9"),
     (r"6.02\times10^{23}", "602000000000000000000000"), (r"\sin(\pi)", "0"),
     ("x>=2", r"x \geq 2"), ("x ≥ 2", "x >= 2"), (r"5~\text{cm}", "5"), ("|x|", r"\left|x\right|"),
     (r"2\pi\text{ cm}", r"2\pi"), ("y ≠ 0", r"y \neq 0"), ("50 cm", "50"),
     ("–5", "-5"), ("2sqrt3", r"2\sqrt{3}"), ("pi/2", r"\frac{\pi}{2}"), ("1⁄2", "0.5"),
     ("ln(2)", r"\ln 2"), ("x ∈ [1,2]", r"x \in [1,2]"), (r"x \ge 2", r"x \geq 2"),
     ("3 > x", "x < 3"), ("$5", "5"), ("$1,234.50", "1234.5"), ("5 dollars", r"\$5"),
     ("9:05", "09:05"), (r"\angle ABC = 30^\circ", "30"), ("∠A = 30°", "30"), ("f(2) = 5", "5"),
     (r"m\angle A = 30", "30"), ("P(A) = 1/2", "0.5"), ("x_{1} = 5", "5"), (r"5\mathrm{~cm}", "5"),
     (r"\text{Area} = 5\text{ cm}^2", "5"), (r"\overline{AB} = 5", "5"), ("36π cm³", r"36\pi"),
     (r"\frac{\sqrt{3}}2", r"\frac{\sqrt3}{2}"), (r"1 \frac12", "3/2"), ("1~000", "1000"),
     (r"\sqrt{2}+\sqrt{3}", r"\sqrt{5+2\sqrt{6}}"), (r"\frac{2}{2^{99}}", r"\frac{1}{2^{98}}")],
)  # fmt: skip
def test_mathematics_in_another_form(answer: str, truth: str) -> None:
    assert match_math(answer, Truth(truth)).value == 1.0


@pytest.mark.parametrize(
    ("answer", "truth"),
    [(r"9.1\times10^{-31}", r"1.6\times10^{-19}"), ("0.0000002", "0.0000001"),
     (r"\frac{1}{2^{98}}", r"\frac{1}{2^{99}}"), ("2^{-98}", "2^{-99}"),
     (r"\frac{1}{2004!}", r"\frac{1}{2006!}"), ("x+10^{-20}", "x"), ("10^{-20}x", "10^{-21}x"),
     ("0.0000002x", "0.0000001x"), ("x=0.0000002", "x=0.0000001"), ("0.00000001", "0"),
     (r"\{0.0000002,1\}", r"\{0.0000001,1\}"), ("(0.0000002,1)", "(0.0000001,1)"),
     (r"\sqrt{2}+10^{-20}", r"\sqrt{2}"), ("0.001235", "0.0012346"),
     (r"\begin{pmatrix}0.0000002\\1\end{pmatrix}", r"\begin{pmatrix}0.0000001\\1\end{pmatrix}"),
     ("2 3", "6"), (r"2\,3", "6"), ("1 000", "0"), ("12", "12:30"), ("3,5", "3.5"),
     ("4 = 5 = x", "5"), (r"\[4\] \[5\]", "5"), (r"5 \boxed{4}", "4"),
     (r"\text{red}", r"\text{der}")],
)  # fmt: skip
def test_another_value_is_not_right_however_small(answer: str, truth: str) -> None:
    assert match_math(answer, Truth(truth)).value == 0.0


HEDGES = [r"4 \to 5", "4 → 5", "4 -> 5", "4 | 5", r"4 \mid 5", "4 # 5", "5_9", "5..9", r"5\\9",
          r"\neq 5", r"\ge 5", "≤ 5", "< 5", r"\approx 5", r"5 \text{ or more}", "5; 6",
          "the answer is not 5", r"4 \Rightarrow 5",
          r"4 \hookrightarrow 5", r"4 \xrightarrow{} 5", r"4 \Longrightarrow 5", r"\prec 5", "5 ∈",
          r"\propto 5", r"\lesssim 5", r"\not= 5", r"4\vee 5", "4 ≡ 5", r"5\hspace{1em}4",
          r"5\cancel{4}", "5 +", "5^", "5'", r"5 \cdot", "$5 and $6",
          "5(4", "5)4", "5}4", "5[4", "5`4", "5+*4", "5^!4", "4 ( 5", "4 . 5", r"5\4", "5!(4",
          "5%{4", r"5\text{ h 4 min}",
          r"4\frac 5", r"4\sum 5", r"\max{4} 5", r"\lg 5", r"5\big{4}4", r"\end{4} 5", r"4\cup 5",
          r"5\text{4}", r"5\mathrm{4}", r"5 \text{h }4\text{ min}", "5 h 4 min",
          "5~4", "5{}4", "~~4~~ 5", "x ~ 5", "5.e2", "5...", "5 e 4", r"5\text{ million}",
          r"5\text{ plus four}", r"5\text{ is wrong}", r"5\text{th root}"]  # fmt: skip


@pytest.mark.parametrize("answer", HEDGES)
def test_a_relation_or_another_value_beside_it_is_no_value(answer: str) -> None:
    assert match_math(answer, Truth("5")).value == 0.0


@pytest.mark.parametrize(
    ("answer", "truth"),
    [("5", "5 h 4 min"), ("5 h", "5 h 4 min"), ("2", r"2\text{ h }30\text{ min}"), ("3", "3(4"),
     ("4", "3 4"), ("4", "5 ft 4 in"), ("3", r"3\text{4}"),
     (r"\sqrt{2}\text{ million}", r"\sqrt{2}"), (r"\pi\text{ hundred}", r"\pi")],
)  # fmt: skip
def test_a_part_of_the_truth_is_not_right(answer: str, truth: str) -> None:
    assert match_math(answer, Truth(truth)).value == 0.0
    assert match_math(truth, Truth(truth)).value == 1.0


def test_a_relation_of_the_truth_allows_no_other() -> None:
    """And a time is no quotient, of which 1 would be as good as 12:12."""
    assert match_math(r"x \geq 1 \to x \geq 2", Truth(r"x \geq 2")).value == 0.0
    assert match_math("1", Truth("12:12")).value == 0.0
    assert match_math("2:5", Truth("12:30")).value == 0.0


@pytest.mark.parametrize(
    ("answer", "truth"),
    [("5 cm", "5 m"), (r"5\text{ m}", r"5\text{ cm}"), (r"2\pi\text{ cm}", r"2\pi\mathrm{ m}"),
     (r"5\text{ cm}^2", r"5\text{ cm}^3"), ("5%", "5 cm")],
)  # fmt: skip
def test_another_unit_is_not_right(answer: str, truth: str) -> None:
    assert match_math(answer, Truth(truth)).value == 0.0
    assert match_math(truth, Truth(truth)).value == 1.0


@pytest.mark.parametrize("truth", ["2024-05-01", "1/5/2024", "01.05.2024"])
def test_a_date_is_no_mathematics(truth: str) -> None:
    with pytest.raises(RewardError, match="is a date"):
        match_math("2018", Truth(truth))


def test_the_published_comparison_still_rounds_absolutely() -> None:
    """Asked in turns: the relative comparison must not stay behind in the worker."""
    pair = "$0.0000001$", "$0.0000002$"
    found = [math_equal(*pair, relative=relative) for relative in (True, False, True)]
    assert found == [False, True, False]


def test_the_auditor_attacks_with_each_false_positive() -> None:
    rows = {(r.scorer, r.attack): r for r in audit(["reason_rft/eval/counting", "ekipl/counting"])}
    for attack in (
        TINY,
        "right, then another behind a colon",
        "side by side with a factor of 1",
        "an arrow to the right one",
        "a command that is read over",
        "a bound",
    ):
        assert rows["reason_rft/eval/counting", attack].gamed
        assert not rows["ekipl/counting", attack].gamed


HOSTILE = [
    r"\text{" * 400, r"\boxed{" * 285 + "5" + "}" * 285, "$" * 2000, "**" * 1000, "*" * 1999,
    "e" + "\u0301\u0316" * 990, "√(" * 1000, "√" * 2000, "²" * 2000, "½" * 2000, "1 " * 1000,
    "1" + " " * 1990 + "x", "1" + r"\," * 900, r"\frac" * 400, "x=" * 1000, "A " * 1000,
    "1,000" * 400, "\ud800" * 2000, "A." * 1000, "^{" * 1000, "10^{" * 500,
]  # fmt: skip


@pytest.mark.parametrize("kind", sorted(MATCHERS))
def test_hostile_forms_are_read_at_once(kind: str) -> None:
    truths = {"calls": "change_size(0, small)", "letter": "B", "numbers": "1, 2"}
    truths |= {"box": "[1, 2, 3, 4]", "boxes": "[1, 2, 3, 4]", "point": "[1, 2]"}
    truth = Truth(truths.get(kind, "4"), choices=CHOICES if kind == "letter" else ())
    MATCHERS[kind]("4", truth)
    began = time.process_time()
    for text in HOSTILE:
        for answer in (text, text[:500], text[:64], text + "\n" + text):
            value = MATCHERS[kind](answer, truth).value
            assert value == 0.0 or (value is None and kind == "math"), answer[:20]
    assert time.process_time() - began < 5.0


def own_reward(folder: Path, value: str) -> str:
    (folder / "own.py").write_text(f"def score(completion, sample):\n    return {value}\n")
    return f"python:{folder}/own.py:score"


@pytest.mark.parametrize("value", ["'0.5'", "b'1'", "'nan'", "1.5", "float('nan')", "[1]"])
def test_an_own_reward_that_is_no_number_is_refused_by_sample(tmp_path: Path, value: str) -> None:
    with pytest.raises(RewardError, match="failed on sample own/1"):
        get_scorer(own_reward(tmp_path, value))(SAMPLE, well_formed("4"))


def test_an_own_reward_is_tried_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    command = ["train", "--config", str(ROOT / "configs/demo_grpo.yaml"), "name=tried"]
    for value, code in (("0.5", 0), ("'0.5'", 2), ("1 / 0", 2), ("sample.nothing", 2)):
        (tmp_path / value[0]).mkdir(exist_ok=True)
        asked = [*command, f"reward.scorer={own_reward(tmp_path / value[0], value)}", "--dry-run"]
        assert main(asked) == code, value
        assert ("failed on sample" in capsys.readouterr().err) is (code == 2)


def test_an_evaluation_in_which_nothing_can_be_scored_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["eval", str(ROOT / "assets/policies/counting"), "--limit", "4", "--mode", "greedy"]
    out = tmp_path / "out"
    command += ["--scorer", own_reward(tmp_path, "None"), "--out", str(out)]
    assert main(command) == 2
    assert "None of 4 actions could be scored" in capsys.readouterr().err
    own_reward(tmp_path, "None if '-0' in sample.id else 0.0")
    assert main(command) == 0 and len(read_records(out / "records.parquet")) == 4


def test_a_run_in_which_nothing_can_be_scored_fails_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    (tmp_path / "run.yaml").write_text(
        f"name: none\npolicy: {{path: '{ROOT}/assets/policies/counting'}}\n"
        "data: {task: counting}\n"
        f"reward: {{scorer: '{own_reward(tmp_path, 'None')}'}}\nevaluation: {{sets: []}}\n"
        "grpo: {max_steps: 1, num_generations: 4, per_device_train_batch_size: 4,"
        " max_completion_length: 8}\n"
    )
    for _ in range(2):
        assert main(["train", "--config", "run.yaml"]) == 2
        assert "None of the run's actions could be scored" in capsys.readouterr().err
