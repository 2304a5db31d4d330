"""The trainer's parts on their own: teacher text as tokens, pools, diagnostics, random state."""

import math
import random

import numpy as np
import pytest
import test_group_doctor as faults
import torch
import trainer_toys as toys

from ekipl_lab.errors import DataError, TeacherError
from ekipl_lab.groups.build import build_group
from ekipl_lab.groups.collect import GroupCollector
from ekipl_lab.groups.diagnostics import GroupCosts, batch_metrics
from ekipl_lab.groups.doctor import CAUSES, cause_of, examine, zero_spread_cause
from ekipl_lab.groups.options import EKIPLOptions, StepContext, Teacher
from ekipl_lab.groups.pool import GenerationBatch, Pool, Row, TeacherReply
from ekipl_lab.policies.build import build_tiny_policy
from ekipl_lab.policies.load import as_policy
from ekipl_lab.policies.source import suppressed_token_ids
from ekipl_lab.random_state import preserved
from ekipl_lab.teachers.encoding import ActionEncoder
from ekipl_lab.training.dataset import EpochSampler, prompt_dataset
from ekipl_lab.types import Action, Capabilities, RewardBreakdown, Sample, Usage

MODEL, PROCESSOR = build_tiny_policy("nano", 0)
TOKENIZER = PROCESSOR.tokenizer
FORBIDDEN = suppressed_token_ids(as_policy(MODEL, PROCESSOR))


def encoder(max_tokens=20, tokenizer=TOKENIZER):
    return ActionEncoder(
        tokenizer, eos_id=TOKENIZER.eos_token_id, max_tokens=max_tokens, forbidden=FORBIDDEN
    )


def said(text, source="t", finish_reason="stop", usage=None):
    return Action(text, source, source, finish_reason=finish_reason, usage=usage)


@pytest.mark.parametrize(
    "text",
    ["<think> red cube</think><answer>2</answer>", "a <|im_end|> b", "é n\u0303 你好", " x\n\n y "],
)
def test_accepted_text_comes_back_and_ends_in_eos(text):
    encoding = encoder(60).encode(said(text))
    *ids, last = encoding.token_ids
    assert last == TOKENIZER.eos_token_id and encoding.refused is None
    assert encoding.length == len(ids) and not set(ids) & {*FORBIDDEN, TOKENIZER.eos_token_id}
    for skip in (True, False):
        assert TOKENIZER.decode(ids, skip_special_tokens=skip) == text


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (said(" \n "), "empty"),
        (said("<answer>2", finish_reason="length"), "cut_off"),
        (said("1 2 3 4 5 6 7 8 9 1 2 3 4 5 6 7 8 9 1 2"), "too_long"),
    ],
)
def test_refusals(action, reason):
    encoding = encoder().encode(action)
    assert encoding.refused == reason and encoding.token_ids == ()


def test_the_longest_action_leaves_room_for_eos():
    text = "1" * 19
    assert len(encoder(20).encode(said(text)).token_ids) == 20
    assert encoder(19).encode(said(text)).refused == "too_long"


class Lossy:
    """A tokenizer that drops what it does not know, or keeps special tokens special."""

    def __init__(self, ids):
        self.ids = ids

    def __call__(self, text, **_):
        return {"input_ids": self.ids}

    def decode(self, ids, **_):
        return "known"


def test_text_that_does_not_come_back_or_holds_special_tokens_is_refused():
    assert encoder(tokenizer=Lossy([5])).encode(said("unknown")).refused == "not_round_trip"
    assert encoder(tokenizer=Lossy([5])).encode(said("known")).token_ids[:-1] == (5,)
    image = TOKENIZER.convert_tokens_to_ids("<|image_pad|>")
    assert encoder(tokenizer=Lossy([5, image])).encode(said("known")).refused == "special_token"
    ended = Lossy([5, TOKENIZER.eos_token_id])
    assert encoder(tokenizer=ended).encode(said("known")).refused == "special_token"


SAMPLE = toys.toy_samples(1)[0]
WEIGHTS = {"accuracy": 1.0, "format": 0.5}


def scored(accuracy, formatted=1.0, answer="1"):
    known = None if accuracy is None else accuracy >= 1
    return RewardBreakdown({"accuracy": accuracy, "format": formatted}, WEIGHTS, known, answer)


def policy_said(length=3, finish_reason="stop"):
    return Action("x", "policy", "p", token_ids=(1,) * length, finish_reason=finish_reason)


def grouped(actions, rewards, rule="top_g", size=2):
    return build_group(SAMPLE, actions, rewards, rule=rule, group_size=size)


def test_round_metrics_by_hand():
    # First group: policy 0.5 and 0.5 (wrong), teacher a right, teacher b unscorable: kept 0 and 2.
    actions = [policy_said(3), policy_said(5, "length"), said("a", "a"), said("b", "b")]
    first = grouped(actions, [scored(0), scored(0), scored(1), scored(None)])
    # Second: policy right and wrong, nothing from a teacher (a's action was refused).
    second = grouped([policy_said(4), policy_said(4)], [scored(1), scored(0)])
    assert first.kept == (0, 2) and second.kept == (0, 1)
    given = (
        TeacherReply("a", None, Usage(completion_tokens=7, cost=0.5)),
        TeacherReply("b", None, Usage()),
    )
    refused = (
        TeacherReply("a", "too_long", Usage(completion_tokens=50)),
        TeacherReply("b", "missing", Usage()),
    )
    pools = (
        Pool(0, first.candidates, first.rewards, ((1,) * 3, (1,) * 5, (1,) * 8, (1,) * 2), given),
        Pool(0, second.candidates, second.rewards, ((1,) * 4, (1,) * 4), refused),
    )
    batch = GenerationBatch((first, second), pools, {"teachers": 0.25})
    metrics = batch_metrics(batch, ["a", "b"])
    expected = {
        "policy/reward": (0.5 + 0.5 + 1.5 + 0.5) / 4,
        "policy/accuracy": 1 / 4,
        "policy/truncated": 1 / 4,
        "kept/reward": (0.5 + 1.5 + 1.5 + 0.5) / 4,
        "kept/accuracy": 2 / 4,
        "teacher/a/reward": 1.5,
        "teacher/a/accuracy": 1.0,
        "teacher/a/actions": 2.0,
        "teacher/a/refused/too_long": 1.0,
        "teacher/a/tokens": 57.0,
        "teacher/a/usd": 0.5,
        "teacher/a/cached": 0.0,
        "teacher/b/latency": 0.0,
        "teacher/b/actions": 1.0,
        "teacher/b/refused/missing": 1.0,
        "share/policy/candidates": 4 / 6,
        "share/a/candidates": 1 / 6,
        "share/b/candidates": 1 / 6,
        "share/policy/kept": 3 / 4,
        "share/a/kept": 1 / 4,
        "share/b/kept": 0.0,
        "advantage/b/abs_sum": 0.0,
        "length/policy": 4.0,
        "length/a": 8.0,
        "length/b": 2.0,
        "groups/zero_spread_before": 1 / 2,
        "groups/zero_spread_after": 0.0,
        "seconds/teachers": 0.25,
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)
    # Rewards of b could not be scored: no mean is invented.
    assert "teacher/b/reward" not in metrics and "teacher/b/accuracy" not in metrics
    # |A| of two kept rewards with spread: 0.5 / (std + eps), std = sqrt(0.5), in both groups.
    each = 0.5 / (math.sqrt(0.5) + 1e-4)
    assert metrics["advantage/a/abs_sum"] == pytest.approx(each, abs=1e-6)
    assert metrics["advantage/policy/abs_sum"] == pytest.approx(3 * each, abs=1e-6)

    costs = GroupCosts()
    costs.add(batch)
    costs.add(batch)
    assert costs == GroupCosts(
        policy_completions=8, policy_tokens=32, trained_tokens=2 * (3 + 8 + 4 + 4),
        teacher_actions=6, teacher_tokens=2 * 57, teacher_usd=1.0,
        teacher_paid_usd=1.0,
    )  # fmt: skip


def test_causes_of_zero_spread_are_the_doctors():
    """One group of each fault, one that teaches, and one that teaches without spread."""
    teaches = faults.group(faults.RIGHT, *[faults.WRONG] * 3)
    # Three right of four and one right teacher: kept 1.5 each, against the policy's mean 1.25.
    pairs = [*[faults.RIGHT] * 3, faults.WRONG, faults.TEACHER]
    no_spread = faults.group(*pairs, baseline="policy")
    groups = (*(make() for make in faults.MADE.values()), teaches, no_spread)
    pools = [Pool(0, g.candidates, g.rewards, ((1,),) * len(g.candidates)) for g in groups]
    metrics = batch_metrics(GenerationBatch(groups, tuple(pools), {}), ["t"])
    shares = {name: metrics[f"groups/zero_{name}"] for name in CAUSES}
    assert shares == {name: (2 if name == "starved" else 1) / 10 for name in CAUSES}
    assert metrics["groups/zero_spread_after"] == pytest.approx(sum(shares.values()))
    # Before selection: all but the starved, the teaching and the last group have none.
    assert metrics["groups/zero_spread_before"] == 7 / 10
    assert [zero_spread_cause(g) for g in (teaches, no_spread)] == [None, "starved"]
    assert [cause_of(g) for g in (teaches, no_spread)] == [None, None]
    assert examine(groups).zero_advantage == len(faults.MADE)


class Fixed:
    """Gives the same actions to every sample."""

    capabilities = Capabilities()

    def __init__(self, name, texts):
        self.id, self.texts, self.draws = name, texts, []

    def propose(self, samples, num_actions, params):
        self.draws.append(params.seed)
        return [[said(text, self.id) for text in self.texts] for _ in samples]


def collector(teachers, samples=None, scorer=toys.even_scorer):
    return GroupCollector(
        samples or toys.toy_samples(2), scorer, teachers, EKIPLOptions(), encoder(),
        group_size=2, max_new_tokens=20,
    )  # fmt: skip


def rows(*indices):
    return [Row(index, policy_said()) for index in indices]


def alone(values):
    return list(values)


def test_pools_hold_policy_first_then_accepted_actions_of_each_teacher():
    pool = collector([Teacher(Fixed("a", ["xx", " "]), 2), Teacher(Fixed("b", ["yyy"]), 2)])
    batch = pool.run(rows(0, 0, 1, 1), rank=0, gather=alone, context=StepContext(draw=3))
    assert [p.sample_index for p in batch.pools] == [0, 1]
    assert [a.source for a in batch.pools[0].actions] == ["policy", "policy", "a", "b"]
    assert [r.refused for r in batch.pools[0].replies] == [None, "empty", "missing", None]
    # "x" (policy) fails, "xx" has an even number of characters, "yyy" fails.
    assert [r.total for r in batch.pools[0].rewards] == [0.0, 0.0, 1.0, 0.0]
    assert batch.groups[0].kept == (0, 2) and pool.teachers[0].source.draws == [3]


def test_every_candidate_is_scored_once_and_nothing_else():
    seen = []

    def count(sample: Sample, action: Action):
        seen.append((sample.id, action.source, action.completion))
        return toys.even_scorer(sample, action)

    pool = collector([Teacher(Fixed("a", ["xx", " "]), 2)], scorer=count)
    pool.run(rows(0, 0, 1, 1), rank=0, gather=alone, context=StepContext())
    per_sample = [("policy", "x"), ("policy", "x"), ("a", "xx")]
    assert sorted(seen) == sorted((f"toy/{i}", *pair) for i in (0, 1) for pair in per_sample)


def test_broken_batches_and_teachers_are_named():
    with pytest.raises(DataError, match="3 rows do not make up groups of 2"):
        collector([]).run(rows(0, 0, 1), rank=0, gather=alone, context=StepContext())
    with pytest.raises(DataError, match=r"One group holds rows of the samples \[0, 1\]"):
        collector([]).run(rows(0, 1), rank=0, gather=alone, context=StepContext())
    many = Teacher(Fixed("a", ["1", "2"]), 1)
    with pytest.raises(TeacherError, match="'a' gave 2 actions for sample toy/0, not 1"):
        collector([many]).run(rows(0, 0), rank=0, gather=alone, context=StepContext())


def test_an_error_of_another_rank_is_raised_here():
    def gather(values):
        reports = [(1, "TeacherError: no line")] if isinstance(values[0][0], int) else []
        return [*values, *reports] if len(values[0]) == 2 and values[0][1] is None else values

    with pytest.raises(TeacherError, match="Rank 1 failed: TeacherError: no line"):
        collector([]).run(rows(0, 0), rank=0, gather=gather, context=StepContext())


def test_preserved_random_state():
    def draw():
        return torch.rand(2).tolist(), np.random.rand(2).tolist(), random.random()  # noqa: NPY002

    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    expected = [draw(), draw()]
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    first = draw()
    with preserved():
        draw()
        torch.manual_seed(99)
    assert [first, draw()] == expected


def test_any_epochs_order_is_that_of_trls_sampler():
    from trl.trainer.utils import RepeatSampler

    settings = {"mini_repeat_count": 2, "batch_size": 3, "repeat_count": 2, "seed": 4}
    reference = RepeatSampler(range(7), **settings)
    epochs = [list(reference) for _ in range(3)]
    assert epochs[0] != epochs[1]
    for epoch in (2, 0, 1):
        sampler = EpochSampler.like(RepeatSampler(range(7), **settings))
        sampler.set_epoch(epoch)
        assert list(sampler) == epochs[epoch]


def test_rows_of_the_prompt_dataset():
    samples = toys.toy_samples(3)
    row = prompt_dataset(samples)[2]
    assert row["sample_index"] == 2 and row["images"] == [samples[2].images[0]]
    kinds = [part["type"] for part in row["prompt"][0]["content"]]
    assert kinds == ["image", "text"]
