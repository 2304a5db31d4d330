"""The report's first sentences say what the tables say, and only what the intervals allow."""

from __future__ import annotations

from dataclasses import replace

from ekipl_lab.report import answer, caveats
from ekipl_lab.report.gather import RunData
from ekipl_lab.tracking import RunInfo
from ekipl_lab.types import Action, EvalRecord, RewardBreakdown


def records(family: str, right_of_4: list[int]) -> list[EvalRecord]:
    """Sampled records of a family: item i was right ``right_of_4[i]`` times of 4."""
    found = []
    for item, right in enumerate(right_of_4):
        wins = [place < right for place in range(4)]
        actions = tuple(Action("<answer>x</answer>", "policy", "m", (1,)) for _ in wins)
        rewards = tuple(
            RewardBreakdown({"accuracy": float(win)}, {"accuracy": 1.0}, win) for win in wins
        )
        name = f"own/{family}/{item}"
        found.append(
            EvalRecord(name, "counting", "test", family, 1, "m", "sampled", actions, rewards)
        )
    return found


def run_of(label: str, start: list[EvalRecord], end: list[EvalRecord], seed: int = 0) -> RunData:
    info = RunInfo(f"{label}{seed}" * 8, label, "e", "FINISHED", 0.0, 60.0, {}, {}, {}, "")
    config = {"seed": seed, "arm": label, "evaluation": {"ks": [1, 4]}}
    return RunData(info, label, config, {}, {"test": {0: start, 10: end}}, None)


START = records("open", [1, 2, 1, 2]) + records("solved", [4, 4, 4, 4])
#: open: +1/4 on three items and +2/4 on one; solved: lost 1/4, 2/4, 1/4, 2/4.
END = records("open", [2, 3, 2, 4]) + records("solved", [3, 2, 3, 2])


def test_what_moved_and_what_was_lost_by_hand() -> None:
    short, moved, where, lost, doctor = answer.answer([run_of("grpo", START, END)])
    assert short == (
        "In short. grpo on test: sampled accuracy and pass@4 not told apart from the start."
    )
    # Differences .25 .25 .25 .5: mean .3125, sd .125, t(3, .975) = 3.18245 -> half .1989.
    assert (
        "grpo gained in open of test (sampled accuracy 37.5 to 68.8 %, +31.2 [+11.4, +51.1])"
        in moved
    )
    assert "solved" not in moved
    # Differences -.25 -.5 -.25 -.5: mean -.375, sd .1443 -> half .2297.
    assert "solved of test (sampled accuracy 100.0 to 62.5 %, −37.5 [−60.5, −14.5])" in lost
    assert "open" not in lost
    assert "pass@4" not in lost  # all solved items are still right once in 4
    assert where.startswith(
        "Over all items of a set, in points: grpo: test sampled accuracy −3.1 ["
    )
    assert where.endswith(", pass@4 +0.0 (the same on every item).")
    assert lost.endswith("Of the 4 intervals by family, each stated by itself, about one in twenty "
                         "leaves out 0 by chance.")  # fmt: skip
    assert "grpo recorded no groups" in doctor


def test_what_the_interval_leaves_open_is_not_said_to_move() -> None:
    _, moved, _, lost, _ = answer.answer([run_of("grpo", START, START)])
    assert "grpo gained in no family (no interval lies above 0)" in moved
    assert "grpo lost in no family (no interval lies below 0)" in lost


def test_gains_of_one_family_stand_together_and_arms_beside_each_other() -> None:
    start = records("rare", [0, 0, 0, 0]) + records("solved", [4] * 4)
    end = records("rare", [1, 1, 1, 1]) + records("solved", [4] * 4)
    short, moved, _, between, *_ = answer.answer(
        [run_of("grpo", start, start), run_of("ekipl", start, end)]
    )
    assert short == (
        "In short. grpo on test: sampled accuracy and pass@4 not told apart from the start; "
        "ekipl on test: sampled accuracy and pass@4 rose."
    )
    # every item alike: 0 to 1/4 sampled, 0 to 1 in four tries
    assert (
        "ekipl gained in rare of test (pass@4 0.0 to 100.0 %, +100.0 [+100.0, +100.0]; "
        "sampled accuracy 0.0 to 25.0 %, +25.0 [+25.0, +25.0])"
    ) in moved
    # over 8 items: differences of pass@4 1 1 1 1 0 0 0 0: mean .5
    assert between.startswith("ekipl − grpo at the end, in points: test sampled accuracy +12.5 [")
    assert ", pass@4 +50.0 [" in between


def test_a_run_that_kept_nothing_of_its_teachers_is_said_to_be_no_test_of_them() -> None:
    run = run_of("ekipl", START, END)
    asked = {"share/friend/kept": [(1, 0.0), (2, 0.0)], "share/policy/kept": [(1, 1.0), (2, 1.0)]}
    said = caveats.warnings([replace(run, history=asked)])
    assert any(text.startswith("No action of a teacher was kept in ekipl") for text in said)
    taught = asked | {"share/friend/kept": [(1, 0.0), (2, 0.25)]}
    for history in (taught, {}):
        said = caveats.warnings([replace(run, history=history)])
        assert not any("No action of a teacher" in text for text in said)


def test_several_seeds_are_compared_over_seeds() -> None:
    base = [run_of("grpo", START, START, seed) for seed in (0, 1, 2)]
    ends = [
        records("open", row) + records("solved", [4] * 4)
        for row in ([2, 3, 2, 3], [2, 3, 2, 4], [2, 3, 3, 3])
    ]
    arm = [run_of("ekipl", START, end, seed) for seed, end in enumerate(ends)]
    said, _ = answer.answer([*base, *arm])
    # Per seed over 8 items: 4/4/8, 5/4/8, 5/4/8 = .125, .15625, .15625: mean .1458.
    assert said.startswith("ekipl − grpo, paired over seeds: sampled accuracy of test +14.6 [")


def test_nothing_is_said_where_nothing_was_trained() -> None:
    run = replace(run_of("x", START, END), about={"job": {}})
    assert answer.answer([run]) == []


def test_families_have_greedy_and_pass_at_k_with_their_change() -> None:
    table = answer.families([run_of("grpo", START, END)])
    rows = {(row[0].text, row[1].text): row for row in table.rows[1:]}
    assert set(rows) == {
        ("open", "pass@1"),
        ("open", "pass@4"),
        ("solved", "pass@1"),
        ("solved", "pass@4"),
    }
    row = rows["open", "pass@1"]
    assert [cell.text for cell in row[2:]] == ["4", "37.5", "68.8"]
    assert row[-1].small.endswith("+31.2 [+11.4, +51.1]")
