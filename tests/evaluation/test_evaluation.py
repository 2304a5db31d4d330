"""Evaluation: scored records, metrics with intervals, comparisons. By hand-computed values."""

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.evaluation import (
    ChainCheck,
    check_chains,
    compare,
    evaluate,
    read_records,
    summarize,
    write_records,
)
from ekipl_lab.rewards import get_scorer
from ekipl_lab.statistics import clustered_mean, mcnemar_exact, pass_at_k, wilson
from ekipl_lab.teachers.adapters.oracle import OracleTeacher
from ekipl_lab.teachers.adapters.replay import ReplayTeacher
from ekipl_lab.types import Action, EvalRecord, GenerationParams, RewardBreakdown, Sample, Usage

IMAGE = Image.new("RGB", (8, 8))
SCORE = get_scorer("ekipl/auto")
SAMPLES = [
    Sample(
        id=f"own/{index}",
        task="counting",
        split="test" if index % 2 else "test_ood",
        images=(IMAGE,),
        question=f"How many in {index}?",
        answer=str(index),
        answer_type="number",
        family="even" if index % 4 < 2 else "odd",
        difficulty=index % 3,
    )
    for index in range(40)
]


def writer(sample: Sample, *, style: str, fault: str, rng: random.Random) -> str:
    answer = "99" if fault == "wrong_answer" else sample.answer
    return f"<think>{fault} {rng.randrange(9)}</think><answer>{answer}</answer>"


def oracle(accuracy: float = 0.5, seed: int = 0) -> OracleTeacher:
    return OracleTeacher("oracle", writer, accuracy=accuracy, style="plain", seed=seed)


def record(
    index: int, successes: Sequence[bool | None], mode: str, **changes: object
) -> EvalRecord:
    """A record with these successes; right ones answer 1, wrong ones 2."""
    actions = [Action("x" * 10, "policy", "m", token_ids=(1,) * (3 + index)) for _ in successes]
    rewards = [
        RewardBreakdown(
            {"accuracy": None if s is None else float(s), "format": 1.0},
            {"accuracy": 1.0, "format": 1.0},
            s,
            extracted_answer={True: "1", False: "2", None: None}[s],
        )
        for s in successes
    ]
    sample = SAMPLES[index]
    made = EvalRecord(
        sample.id, sample.task, sample.split, sample.family, sample.difficulty, "m", mode,
        tuple(actions), tuple(rewards),
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def values(records: list[EvalRecord], **options: object) -> dict[str, float]:
    rows = summarize(records, **options)  # type: ignore[arg-type]
    return {row.metric: row.value for row in rows}


@pytest.mark.parametrize(
    ("texts", "successes", "vote"),
    [
        (("The answer is 3", "3", " 3"), (True, True, True), 1.0),
        (("3", "4", "4 "), (True, False, False), 0.0),  # the wrong text has two votes
        (("no", "no", "no"), (False, False, False), 0.0),
    ],
)
def test_texts_vote_where_the_scorer_judges_whole_texts(texts, successes, vote) -> None:
    made = record(0, successes, "sampled")
    actions = tuple(replace(a, completion=t) for a, t in zip(made.actions, texts, strict=True))
    rewards = tuple(replace(reward, extracted_answer=None) for reward in made.rewards)
    judged = replace(made, actions=actions, rewards=rewards)
    assert values([judged], ks=(1,))["majority_vote"] == vote


def test_evaluate_scores_every_action_of_every_sample() -> None:
    seen: list[tuple[int, int]] = []
    records = evaluate(
        oracle(), SAMPLES, SCORE, mode="sampled", num_samples=5, batch_size=16,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen == [(16, 40), (32, 40), (40, 40)]
    assert [r.sample_id for r in records] == [s.id for s in SAMPLES]
    proposed = oracle().propose(SAMPLES, 5, GenerationParams(seed=0))
    for one, sample, actions in zip(records, SAMPLES, proposed, strict=True):
        assert one.actions == tuple(actions)
        assert one.rewards == tuple(SCORE(sample, action) for action in actions)
        assert (one.task, one.split, one.family) == (sample.task, sample.split, sample.family)
        assert (one.mode, one.model_id, one.difficulty) == ("sampled", "oracle", sample.difficulty)


class Spy:
    """Records what a source is asked."""

    def __init__(self) -> None:
        self.inner, self.asked = oracle(), []
        self.id, self.capabilities = self.inner.id, self.inner.capabilities

    def propose(
        self, samples: Sequence[Sample], num_actions: int, params: GenerationParams
    ) -> list[list[Action]]:
        self.asked.append(([s.id for s in samples], num_actions, params))
        return self.inner.propose(samples, num_actions, params)


def test_modes_ask_for_what_they_say() -> None:
    spy = Spy()
    evaluate(spy, SAMPLES[:3], SCORE)
    evaluate(spy, SAMPLES[:3], SCORE, mode="sampled", temperature=0.7, seed=4, max_new_tokens=9)
    ids = [s.id for s in SAMPLES[:3]]
    assert spy.asked == [
        (ids, 1, GenerationParams(temperature=0.0, max_new_tokens=64, seed=0)),
        (ids, 32, GenerationParams(temperature=0.7, max_new_tokens=9, seed=4)),
    ]


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ConfigError, match="greedy or sampled"):
        evaluate(oracle(), SAMPLES, SCORE, mode="beam")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="temperature above 0"):
        evaluate(oracle(), SAMPLES, SCORE, mode="sampled", temperature=0.0)
    with pytest.raises(ConfigError, match="num_samples"):
        evaluate(oracle(), SAMPLES, SCORE, mode="sampled", num_samples=0)
    with pytest.raises(DataError, match="own/0 occurs twice"):
        evaluate(oracle(), [SAMPLES[0], SAMPLES[0]], SCORE)


def test_cached_actions_are_not_asked_again(tmp_path: Path) -> None:
    spy = Spy()
    whole = evaluate(spy, SAMPLES, SCORE, batch_size=8, cache=tmp_path)
    again = evaluate(spy, SAMPLES, SCORE, batch_size=8, cache=tmp_path)
    assert again == whole and len(spy.asked) == 5
    changed = [replace(SAMPLES[0], question="Another?"), *SAMPLES[1:]]
    evaluate(spy, changed, SCORE, batch_size=8, cache=tmp_path)
    assert [asked[0] for asked in spy.asked[5:]] == [["own/0"]]
    other = replace(SAMPLES[1], images=(Image.new("RGB", (8, 8), "red"),))
    evaluate(spy, [other], SCORE, cache=tmp_path)
    assert len(spy.asked) == 7


def test_a_cache_of_another_evaluation_is_refused(tmp_path: Path) -> None:
    evaluate(oracle(), SAMPLES, SCORE, cache=tmp_path, model_key="a")
    with pytest.raises(ConfigError, match="another model;"):
        evaluate(oracle(), SAMPLES, SCORE, cache=tmp_path, model_key="b")
    with pytest.raises(ConfigError, match="another actions per sample, temperature"):
        evaluate(oracle(), SAMPLES, SCORE, cache=tmp_path, mode="sampled", model_key="a")
    part = next(tmp_path.glob("part-*.jsonl"))
    part.write_text("{\n")
    with pytest.raises(DataError, match="line 1: damaged"):
        evaluate(oracle(), SAMPLES, SCORE, cache=tmp_path, model_key="a")


def test_records_survive_parquet(tmp_path: Path) -> None:
    records = evaluate(oracle(), SAMPLES, SCORE, mode="sampled", num_samples=3)
    rich = Action("<answer>", "policy", "m", (1, 2), (-0.5, -1 / 3), "tok", "length", Usage(3, 2))
    unscorable = RewardBreakdown({"accuracy": None, "format": 0.0}, {"accuracy": 1.0}, None)
    records.append(replace(records[0], actions=(rich,), rewards=(unscorable,), mode="greedy"))
    path = tmp_path / "folder" / "records.parquet"
    write_records(path, records)
    assert read_records(path) == records
    assert [p.name for p in path.parent.iterdir()] == ["records.parquet"]
    write_records(path, [])
    assert read_records(path) == []


def test_reading_names_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="do not exist"):
        read_records(tmp_path / "none.parquet")
    path = tmp_path / "x.parquet"
    path.write_text("no")
    with pytest.raises(DataError, match="not a Parquet file"):
        read_records(path)


@pytest.mark.parametrize(
    "forms", [("5", "$5$", r"\text{5}"), ("5", "Answer: 5", "**The answer is** 5")]
)
def test_forms_of_one_answer_vote_together(forms) -> None:
    made = record(0, (True, True, True, False, False), "sampled")
    rewards = tuple(
        replace(reward, extracted_answer=form)
        for reward, form in zip(made.rewards, (*forms, "7", "7"), strict=True)
    )
    assert values([replace(made, rewards=rewards)], ks=(1,))["majority_vote"] == 1.0


@pytest.mark.parametrize(
    ("successes", "vote"),
    [((None, True, True, False), 1.0), ((None, None, None, True), None), ((None,) * 4, None)],
)
def test_the_vote_is_judged_by_an_action_that_could_be_scored(successes, vote) -> None:
    """Three of four say 5; what nobody could score is neither right nor wrong."""
    made = record(0, successes, "sampled")
    rewards = tuple(
        replace(reward, extracted_answer=said)
        for reward, said in zip(made.rewards, ("5", "5", "5", "7"), strict=True)
    )
    assert values([replace(made, rewards=rewards)], ks=(1,)).get("majority_vote") == vote


def test_greedy_metrics_by_hand() -> None:
    records = [record(i, [s], "greedy") for i, s in enumerate([True, False, True, True, None])]
    rows = {row.metric: row for row in summarize(records)}
    expected = wilson(3, 4)
    assert (rows["accuracy_greedy"].value, rows["accuracy_greedy"].n) == (0.75, 4)
    assert rows["accuracy_greedy"].low == expected.low
    assert rows["accuracy_greedy"].high == expected.high
    assert rows["unscorable_greedy"].value == pytest.approx(0.2)
    assert rows["partial_credit_greedy"].value == 0.75
    assert rows["length_greedy"].value == 5.0  # tokens 3, 4, 5, 6, 7
    assert rows["format_failure_greedy"].value == 0.0
    assert "pass_at_1" not in rows


def test_pass_at_k_by_hand() -> None:
    right = [4, 0, 1, 2]
    records = [record(i, [True] * c + [False] * (4 - c), "sampled") for i, c in enumerate(right)]
    rows = {row.metric: row for row in summarize(records, ks=(1, 2, 4, 8))}
    assert rows["pass_at_1"].value == pytest.approx(7 / 16)
    assert rows["pass_at_2"].value == pytest.approx((1 + 0 + 1 / 2 + 5 / 6) / 4)
    assert rows["pass_at_4"].value == pytest.approx(3 / 4)
    assert "pass_at_8" not in rows  # undefined for 4 samples
    interval = clustered_mean([pass_at_k(4, c, 2) for c in right])
    assert (rows["pass_at_2"].low, rows["pass_at_2"].high) == (interval.low, interval.high)
    assert rows["pass_at_2"].n == 4
    assert rows["majority_vote"].value == 0.5  # 4 of 4; none; 1 of 4; 2 of 4, right one first


def test_unscorable_samples_are_left_out_not_counted_wrong() -> None:
    records = [record(0, [True, None, None, True], "sampled"), record(1, [False] * 4, "sampled")]
    found = values(records, ks=(1, 2, 4))
    assert found["pass_at_1"] == 0.5 and found["pass_at_2"] == 0.5
    assert found["pass_at_4"] == 0.0  # the first item has only two samples that could be scored
    assert found["unscorable_sampled"] == 0.25


def test_groups_by_field_and_label() -> None:
    records = [record(i, [i % 4 == 0], "greedy") for i in range(8)]
    rows = [r for r in summarize(records, by=("split", "difficulty")) if r.metric[:3] == "acc"]
    assert [dict(row.group) for row in rows] == [
        {"split": split, "difficulty": d} for split in ("test", "test_ood") for d in (0, 1, 2)
    ]
    assert sum(row.n for row in rows) == 8
    assert [r.value for r in rows if r.group["split"] == "test"] == [0.0] * 3
    strata = {"stratum": {f"own/{i}": "hard" if i < 5 else "easy" for i in range(8)}}
    rows = [
        r for r in summarize(records, by=("stratum",), labels=strata)
        if r.metric == "accuracy_greedy"
    ]  # fmt: skip
    assert [(r.group["stratum"], r.value, r.n) for r in rows] == [("easy", 0, 3), ("hard", 0.4, 5)]
    with pytest.raises(ConfigError, match="did you mean 'family'"):
        summarize(records, by=("famly",))


def test_scores_below_zero_are_averaged_too() -> None:
    records = [record(i, [False], "greedy") for i in range(2)]
    penalised = [
        replace(one, rewards=(replace(one.rewards[0], components={"accuracy": value}),))
        for one, value in zip(records, (-0.5, 1.0), strict=True)
    ]
    row = next(r for r in summarize(penalised) if r.metric == "partial_credit_greedy")
    assert (row.value, row.method, row.n) == (0.25, "t over items", 2)


def test_truncation_and_format_failures_are_counted() -> None:
    one = record(0, [True, False], "sampled")
    actions = (replace(one.actions[0], finish_reason="length"), one.actions[1])
    broken = replace(one.rewards[1], components={"accuracy": 0.0, "format": 0.0})
    found = values([replace(one, actions=actions, rewards=(one.rewards[0], broken))], ks=(1,))
    assert found["truncated_sampled"] == 0.5 and found["format_failure_sampled"] == 0.5


class Report:
    def __init__(self, true: int, false: int) -> None:
        self.true_steps, self.false_steps = ["t"] * true, ["f"] * false
        self.sound = false == 0


def test_chains_are_checked_apart_from_answers() -> None:
    deceiver = OracleTeacher(
        "oracle", writer, accuracy=0.0, style="plain", fault_mode="wrong_chain"
    )
    records = evaluate(deceiver, SAMPLES[:4], SCORE)

    def checker(sample: Sample, completion: str) -> Report:
        return Report(3, int("wrong_chain" in completion and sample.id != "own/3"))

    chains = check_chains(records, SAMPLES, checker)
    assert chains["own/0", "oracle", "greedy"] == (ChainCheck(3, 1, False),)
    found = values(records, chains=chains)
    assert found["accuracy_greedy"] == 1.0
    assert found["chain_sound_greedy"] == 0.25
    assert found["right_but_unsound_greedy"] == 0.75
    assert found["chain_steps_true_greedy"] == pytest.approx((3 * 0.75 + 1) / 4)
    with pytest.raises(DataError, match="own/3"):
        check_chains(records, SAMPLES[:3], checker)


def test_comparison_by_hand() -> None:
    a = [record(i, [s], "greedy") for i, s in enumerate([True] * 9 + [False])]
    b = [record(i, [s], "greedy") for i, s in enumerate([True] * 3 + [False] * 6 + [True])]
    found = compare(a, b)
    assert (found.n, found.value_a, found.value_b) == (10, 0.9, 0.4)
    assert found.difference == pytest.approx(0.5)
    assert found.wins == tuple(f"own/{i}" for i in range(3, 9)) and found.losses == ("own/9",)
    assert found.p_value == mcnemar_exact(6, 1) == pytest.approx(0.125)
    # differences: six 1, three 0, one -1: sd = sqrt((7 - 10*0.25)/9), t(0.975, 9) = 2.262157
    assert found.high - 0.5 == pytest.approx(2.262157 * (4.5 / 9 / 10) ** 0.5, rel=1e-6)
    assert compare(b, a[::-1]).difference == pytest.approx(-0.5)


def test_sampled_comparison_uses_shares() -> None:
    a = [record(0, [True, True], "sampled"), record(1, [True, False], "sampled")]
    b = [record(0, [True, False], "sampled"), record(1, [True, False], "sampled")]
    found = compare(a, b)
    assert (found.metric, found.difference, found.p_value) == ("pass_at_1", 0.25, None)
    assert found.wins == ("own/0",) and found.losses == ()


def test_unlike_evaluations_are_refused() -> None:
    a = [record(i, [True], "greedy") for i in range(3)]
    with pytest.raises(DataError, match="missing from the second, such as own/2"):
        compare(a, a[:2])
    with pytest.raises(DataError, match="missing from the first, such as own/2"):
        compare(a[:2], a)
    with pytest.raises(DataError, match=r"\['greedy', 'sampled'\]"):
        compare(a, [record(i, [True], "sampled") for i in range(3)])
    with pytest.raises(DataError, match="own/0 has two records"):
        compare([*a, a[0]], a)
    with pytest.raises(DataError, match="own/1 could not be scored"):
        compare(a, [a[0], record(1, [None], "greedy"), a[2]])


def test_a_recording_is_evaluated_offline(tmp_path: Path) -> None:
    """Export what one source said, replay it: the same records, but for the model's name."""
    records = evaluate(oracle(), SAMPLES, SCORE, mode="sampled", num_samples=4)
    path = tmp_path / "actions.jsonl"
    rows = [
        {"sample_id": r.sample_id, "completion": a.completion, "model_id": a.model_id}
        for r in records
        for a in r.actions
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    again = evaluate(ReplayTeacher("oracle", path), SAMPLES, SCORE, mode="sampled", num_samples=4)
    assert again == records


class Skipper:
    """A source that skips failures: sample 1 gets one action of those asked, sample 2 none."""

    def __init__(self, missing: int = 2) -> None:
        self.inner, self.asked, self.missing = oracle(1.0), [], missing
        self.id, self.capabilities = self.inner.id, self.inner.capabilities

    def propose(
        self, samples: Sequence[Sample], num_actions: int, params: GenerationParams
    ) -> list[list[Action]]:
        self.asked += [sample.id for sample in samples]
        sizes = {"own/1": 1, "own/2": num_actions - self.missing}
        whole = self.inner.propose(samples, num_actions, params)
        return [
            row[: sizes.get(sample.id, num_actions)]
            for sample, row in zip(samples, whole, strict=True)
        ]


def test_actions_that_a_source_skipped_are_counted_and_never_scored(tmp_path: Path) -> None:
    options = {"mode": "sampled", "num_samples": 2, "cache": tmp_path}
    with pytest.raises(DataError, match="where 2 each were asked for"):
        evaluate(Skipper(), SAMPLES[:4], SCORE, mode="sampled", num_samples=2)
    source = Skipper()
    records = evaluate(source, SAMPLES[:4], SCORE, allow_missing=True, **options)  # type: ignore[arg-type]
    reasons = [[action.finish_reason for action in record.actions] for record in records]
    assert reasons[1:3] == [["stop", "missing"], ["missing", "missing"]]
    gap = records[2].rewards[0]
    assert (gap.success, gap.total, gap.components["accuracy"]) == (None, None, None)
    found = {row.metric: row for row in summarize(records, ks=(1, 2))}
    assert (found["pass_at_1"].value, found["pass_at_1"].n) == (1.0, 3)  # sample 2 is left out
    assert (found["pass_at_2"].value, found["pass_at_2"].n) == (1.0, 2)
    assert found["missing_sampled"].value == pytest.approx((0 + 0.5 + 1 + 0) / 4)
    assert (found["format_failure_sampled"].value, found["format_failure_sampled"].n) == (0.0, 3)
    assert found["unscorable_sampled"].value == 0.0 and found["truncated_sampled"].value == 0.0
    lengths = [len(a.completion) for r in records for a in r.actions if a.completion]
    assert found["length_sampled"].n == 3 and min(lengths) > 0
    chains = check_chains(records, SAMPLES, lambda sample, completion: Report(1, 0))
    assert len(chains["own/1", "oracle", "sampled"]) == 1
    assert values(records, chains=chains)["chain_sound_sampled"] == 1.0
    write_records(tmp_path / "records.parquet", records)
    assert read_records(tmp_path / "records.parquet") == records
    # What was not given is not cached: the same call asks for it again, and only for it.
    healed = Skipper(missing=0)
    again = evaluate(healed, SAMPLES[:4], SCORE, allow_missing=True, **options)  # type: ignore[arg-type]
    assert healed.asked == ["own/1", "own/2"]
    assert {a.finish_reason for a in again[2].actions} == {"stop"}


def test_too_many_actions_are_never_taken() -> None:
    class Generous(Skipper):
        def propose(self, samples, num_actions, params):  # type: ignore[no-untyped-def]
            return self.inner.propose(samples, num_actions + 1, params)

    with pytest.raises(DataError, match="gave"):
        evaluate(Generous(), SAMPLES[:2], SCORE, allow_missing=True)
