"""Usefulness of teachers, against numbers counted by hand."""

from collections.abc import Sequence

import pytest

from ekipl_lab.errors import DataError
from ekipl_lab.evaluation.chains import ChainCheck
from ekipl_lab.evaluation.usefulness import measure, recommend, usefulness
from ekipl_lab.statistics import wilson
from ekipl_lab.types import (
    Action,
    Capabilities,
    EvalRecord,
    GenerationParams,
    RewardBreakdown,
    Sample,
    Usage,
)

WEIGHTS = {"accuracy": 1.0, "format": 0.0}


def record(
    source: str, number: int, outcomes: Sequence[int | None], cost: float = 0.0
) -> EvalRecord:
    """Odd samples are hard. An outcome: 1 right, 0 wrong, None unscorable."""
    rewards = tuple(
        RewardBreakdown(
            {"accuracy": None if o is None else float(o), "format": float(o != 0)},
            WEIGHTS,
            None if o is None else bool(o),
        )
        for o in outcomes
    )
    action = Action("x" * 7, source, source, usage=Usage(0, 5, cost))
    return EvalRecord(
        sample_id=f"s{number}",
        task="t",
        split="train",
        family=f"f{number % 2}",
        difficulty=number % 2,
        model_id=source,
        mode="sampled",
        actions=(action,) * len(outcomes),
        rewards=rewards,
    )


POLICY = [record("policy", n, o) for n, o in enumerate([[1, 1], [0, 0], [1, 0], [0, 0]])]
GOOD = [record("good", n, o, 0.5) for n, o in enumerate([[1], [1], [0], [1]])]
LAZY = [record("lazy", n, o) for n, o in enumerate([[1], [0], [], [1]])]


def test_counts_by_hand() -> None:
    result = usefulness(POLICY, {"good": GOOD, "lazy": LAZY}, ks=(1, 2, 4))
    where = (("task", "t"),)
    rows = {row.source: row for row in result.sources if row.where == where}
    assert rows["policy"].accuracy is not None
    assert rows["policy"].accuracy.value == pytest.approx(0.375)  # (1 + 0 + .5 + 0) / 4
    assert {k: v.value for k, v in rows["policy"].pass_at.items()} == {1: 0.375, 2: 0.5}
    assert rows["good"].pass_at.keys() == {1}
    assert (rows["good"].cost, rows["good"].actions, rows["good"].length) == (2.0, 4, 5.0)
    assert (rows["lazy"].samples, rows["lazy"].unanswered, rows["lazy"].actions) == (4, 1, 3)
    assert rows["policy"].format_failure == 5 / 8
    gains = {row.teacher: row for row in result.gains if row.where == where}
    good = gains["good"]
    assert (good.policy_unsolved, good.newly_solved, good.only_policy) == (2, 2, 1)
    assert good.newly == wilson(2, 4)
    assert good.cost_per_new == 1.0
    assert gains["lazy"].newly_solved == 1
    overlap = result.overlaps[0]
    assert (overlap.both, overlap.only_first, overlap.only_second, overlap.neither) == (2, 1, 0, 1)
    assert overlap.jaccard == pytest.approx(2 / 3)


def test_slices_by_difficulty_and_family() -> None:
    result = usefulness(POLICY, {"good": GOOD})
    hard = next(r for r in result.gains if r.where == (("task", "t"), ("difficulty", 1)))
    assert (hard.samples, hard.policy_unsolved, hard.newly_solved) == (2, 2, 2)
    easy = next(r for r in result.gains if r.where == (("task", "t"), ("family", "f0")))
    assert (easy.newly_solved, easy.cost_per_new) == (0, None)


def test_wrong_chains_behind_right_answers() -> None:
    sound, wrong = ChainCheck(3, 0, True), ChainCheck(2, 1, False)
    checks = {
        (f"s{n}", "good", "sampled"): (c,) for n, c in enumerate([sound, wrong, wrong, wrong])
    }
    result = usefulness(POLICY, {"good": GOOD}, chains=checks)
    row = next(r for r in result.sources if r.source == "good" and r.where == (("task", "t"),))
    # Of three right answers, one per sample, the second and the fourth: 2/3 over 3 samples.
    # Residuals -2/3, 1/3, 1/3: variance 3/2 x (6/9) / 9 = 1/9; (2/9) / (1/9) = 2 effective samples.
    # Wilson with t(0.975, 2) = 4.302653, t^2 = 18.512821: centre (2/3 + t^2/4) / (1 + t^2/2) =
    # 0.516250, half t / (1 + t^2/2) x sqrt((2/9)/2 + t^2/16) = 0.419509 x 1.126127 = 0.472420.
    assert row.wrong_chains is not None and row.wrong_chains.n == 3
    assert row.wrong_chains.value == pytest.approx(2 / 3)
    assert row.wrong_chains.low == pytest.approx(0.516250 - 0.472420, abs=2e-6)
    assert row.wrong_chains.high == pytest.approx(0.516250 + 0.472420, abs=2e-6)
    assert next(r for r in result.sources if r.source == "policy").wrong_chains is None


def test_many_actions_of_a_sample_are_one_piece_of_evidence_on_chains() -> None:
    """Six samples of 16 right actions, two of them always unsound: 2 of 6 samples, not 32 of 96."""
    policy = [record("policy", n, [0]) for n in range(6)]
    teacher = [record("t", n, [1] * 16) for n in range(6)]
    checks = {(f"s{n}", "t", "sampled"): (ChainCheck(1, 0, n >= 2),) * 16 for n in range(6)}
    result = usefulness(policy, {"t": teacher}, chains=checks)
    found = next(r for r in result.sources if r.source == "t").wrong_chains
    # Variance 6/5 x (2 x 4/9 + 4 x 1/9) / 36 = 2/45; (2/9) / (2/45) = 5 effective samples. Wilson
    # with t(0.975, 5) = 2.570582, t^2 = 6.607891: centre (1/3 + 0.660789) / 2.321578 = 0.428210,
    # half 2.570582 / 2.321578 x sqrt((2/9)/5 + 6.607891/100) = 1.107256 x 0.332450 = 0.368107.
    assert found is not None and found.n == 6
    assert found.value == pytest.approx(1 / 3)
    assert found.low == pytest.approx(0.428210 - 0.368107, abs=2e-5)
    assert found.high == pytest.approx(0.428210 + 0.368107, abs=2e-5)


@pytest.mark.parametrize(
    ("solved", "samples", "accuracy", "gate"),
    [
        (0, 300, 0.9, "off"),  # upper limit 1.3 %
        (0, 20, 0.9, "more_samples"),  # upper limit 16 %
        (3, 60, 0.9, "more_samples"),  # lower limit 1.7 %
        (30, 100, 0.7, "if_unsolved"),
        (30, 100, 0.2, "always"),
        (30, 100, None, "always"),
    ],
)
def test_gates(solved: int, samples: int, accuracy: float | None, gate: str) -> None:
    assert recommend(wilson(solved, samples), accuracy)[0] == gate


def test_a_flag_where_right_answers_rest_on_wrong_chains() -> None:
    policy = [record("policy", n, [0]) for n in range(100)]
    teacher = [record("deceiver", n, [1]) for n in range(100)]
    checks = {(f"s{n}", "deceiver", "sampled"): (ChainCheck(1, 1, n % 2 == 0),) for n in range(100)}
    result = usefulness(policy, {"deceiver": teacher}, chains=checks)
    assert result.gains[0].gate == "always"
    assert "50% of its right answers rest on a wrong chain" in result.gains[0].reason


def test_a_teacher_that_gave_nothing_is_not_called_useless() -> None:
    """A server that was down, skipped by its gateway: no gate follows from that."""
    policy = [record("policy", n, [0]) for n in range(300)]
    down = [record("down", n, []) for n in range(300)]
    mostly = [record("mostly", n, [1] if n < 30 else [None]) for n in range(300)]
    gains = usefulness(policy, {"down": down, "mostly": mostly}).gains
    assert gains[0].gate == "more_samples"
    assert "down gave a scorable answer on 0 of 300 samples" in gains[0].reason
    assert (gains[1].newly.value, gains[1].newly.n, gains[1].gate) == (1.0, 30, "always")
    assert "on 30 of 300 samples" in gains[1].reason


def test_unlike_samples_are_refused() -> None:
    with pytest.raises(DataError, match="'good' was not measured on the samples of the policy"):
        usefulness(POLICY, {"good": GOOD[:3]})
    with pytest.raises(DataError, match="two records of one sample"):
        usefulness([*POLICY, POLICY[0]], {})


def test_measuring_takes_fewer_actions_where_some_were_skipped() -> None:
    class Skipping:
        id = "lazy"
        capabilities = Capabilities()

        def propose(
            self, samples: Sequence[Sample], num_actions: int, params: GenerationParams
        ) -> list[list[Action]]:
            return [[Action("2", "lazy", "m")] * (int(s.id) % 3) for s in samples]

    samples = [Sample(str(n), "t", "train", (), "?", "2", "number") for n in range(5)]
    done: list[tuple[int, int]] = []
    records = measure(
        Skipping(),
        samples,
        lambda sample, action: RewardBreakdown({"accuracy": 1.0}, {"accuracy": 1.0}, True),
        num_actions=2,
        params=GenerationParams(),
        batch_size=2,
        progress=lambda *at: done.append(at),
    )
    assert [len(r.actions) for r in records] == [0, 1, 2, 0, 1]
    assert done == [(2, 5), (4, 5), (5, 5)]
