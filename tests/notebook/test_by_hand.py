"""Groups by hand: every rule on a known pool, token weights, the gradient of each row."""

from __future__ import annotations

import math

import plotly.graph_objects as go
import pytest
import torch
from paths import ROOT

import ekipl_lab as ek
from ekipl_lab.notebook import by_hand, tables
from ekipl_lab.notebook.gradients import action_gradients, action_logps
from ekipl_lab.policies import PolicySource, load_policy
from ekipl_lab.rewards import get_scorer
from ekipl_lab.types import POLICY, Action


def test_every_rule_on_a_pool_of_two_right_and_a_right_teacher() -> None:
    pool = by_hand.pool_of_outcomes(2, policy=4, teacher=(True, False))
    groups = by_hand.under_every_rule(pool)
    # rewards 2 2 1 1 | 2 1: the best four are both right ones, the teacher's, the first wrong one
    assert groups["top_g (Vision-EKIPL)"].kept == (0, 1, 2, 4)
    assert groups["policy_only (GRPO)"].kept == (0, 1, 2, 3)
    assert groups["quota (LUFFY)"].kept == (0, 1, 2, 4)
    assert groups["on_failure"].kept == (0, 1, 2, 3)
    # mean 1.75, std 0.5: 0.25 / 0.5001 three times, and -0.75 / 0.5001
    assert groups["top_g (Vision-EKIPL)"].advantages == pytest.approx(
        (0.5, 0.5, -1.5, 0.5), abs=1e-3
    )
    assert by_hand.teacher_share(groups["top_g (Vision-EKIPL)"]) == pytest.approx(0.5 / 3)
    assert by_hand.teacher_share(groups["policy_only (GRPO)"]) == 0.0


def test_top_g_starves_itself_and_keep_failures_does_not() -> None:
    groups = by_hand.under_every_rule(by_hand.pool_of_outcomes(4, policy=4))
    assert by_hand.teacher_share(groups["top_g (Vision-EKIPL)"]) is None
    groups = by_hand.under_every_rule(by_hand.pool_of_outcomes(3, policy=4))
    assert set(groups["top_g (Vision-EKIPL)"].advantages) == {0.0}
    assert min(groups["top_g, keep_failures=1"].advantages) < 0


def test_the_map_shows_what_was_kept_and_the_slider_one_map_at_a_time() -> None:
    maps = {}
    for right in (0, 1):
        pool = by_hand.pool_of_outcomes(right, policy=2, teacher=(True,))
        maps[str(right)] = by_hand.advantage_map(pool, {"g": pool.group("quota")}, "t")
    assert maps["0"].data[0].z[0][1] is None  # the second policy action made room
    assert list(maps["0"].data[0].text[0]) == ["-0.71", "", "+0.71"]
    joined = by_hand.with_slider(maps, "right", start="1")
    assert [trace.visible for trace in joined.data] == [False, True]
    (slider,) = joined.layout.sliders
    assert [step.label for step in slider.steps] == ["0", "1"] and slider.active == 1
    assert slider.steps[0].args[0] == {"visible": [True, False]}


def test_what_a_teacher_token_weighs() -> None:
    pi = torch.tensor([0.1, 0.5])
    first, moved = by_hand.token_slopes(pi, 0.5, 1.0), by_hand.token_slopes(pi, 0.5, 1.3)
    assert first["policy_ratio"] == pytest.approx([1.0, 1.0])
    assert first["proposal_ratio"] == pytest.approx([0.2, 1.0])  # pi / q
    # d/dlogp of pi / (pi + g) is pi g / (pi + g)^2, g = 0.1
    assert first["shaped"] == pytest.approx([0.25, 0.05 / 0.36])
    assert moved["policy_ratio"] == [0.0, 0.0]  # 1.3 is past the clip at 1.2
    assert isinstance(by_hand.slope_figure(0.5, 1.0), go.Figure)


def test_the_gradients_of_the_rows_make_up_the_update() -> None:
    policy = load_policy(ROOT / "assets/policies/counting")
    (sample,) = ek.load_samples("mini", task="counting", split="validation", limit=1)
    (own,) = PolicySource(policy).propose([sample], 2, ek.GenerationParams(seed=0))
    # what the sampler wrote down is what the forward pass finds, end token included
    assert own[0].logprobs is not None
    found = action_logps(policy, sample, own[0])[0].detach()
    assert found.shape == (len(own[0].logprobs),)
    assert math.isclose(float(found.sum()), sum(own[0].logprobs), abs_tol=0.05)
    wrong = [Action("<think>so .</think><answer>9 9</answer>", POLICY, "t")]
    right = [Action(f"<think>so .</think><answer>{sample.answer}</answer>", "careful", "t")]
    group = ek.build_group(sample, [*wrong, *wrong, *right])  # keeps one of each
    table = action_gradients(policy, group)
    assert table["along"].sum() == pytest.approx(1.0, abs=1e-3)
    assert (table["pull"] > 0).equals(table["advantage"] != 0)
    shaped = action_gradients(policy, group, "shaped")
    teacher = table.index[-1]
    assert shaped.loc[teacher, "pull"] < table.loc[teacher, "pull"]


def test_tables_of_scores_and_attacks() -> None:
    (sample,) = ek.load_samples("mini", task="counting", split="validation", limit=1)
    texts = {"right": f"<think>so</think><answer>{sample.answer}</answer>", "bare": sample.answer}
    table = tables.score_table(sample, texts, get_scorer("ekipl/auto"))
    assert table["total"].to_dict() == {"right": 2.0, "bare": 0.0}
    assert table.loc["right", "answer read"] == sample.answer
    from ekipl_lab.rewards.audit import audit

    gamed = tables.audit_frame(audit(["ekipl/letter", "reason_rft/train/counting"]))
    assert gamed["ekipl/letter"].sum() == 0
    assert gamed.loc["answer inside the reasoning", "reason_rft/train/counting"] == 1
