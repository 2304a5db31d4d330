"""Bias lab: hand-computed numbers on a small slice, the anchors, and the committed table.

The slice is G = 2 with one teacher action and binary reward, the policy right p = 0.332 of the
time (0.8 well-formed x (0.3 x 0.8 + 0.7 x 0.25)), the teacher q = 0.8.
"""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from paths import ROOT

from ekipl_lab.biaslab import report, study
from ekipl_lab.biaslab.__main__ import main
from ekipl_lab.biaslab.figure import cosine_figure
from ekipl_lab.biaslab.groups import Grouping, group_table
from ekipl_lab.biaslab.measure import expected_update, mean_square, measure, pattern_probs
from ekipl_lab.biaslab.rows import OWN, SIGNS, Scene, Weight, row_moments, token_slopes
from ekipl_lab.biaslab.simulate import group_updates, simulate, trl_slopes
from ekipl_lab.biaslab.toy import (
    ACTIONS,
    REWARDS,
    STATES,
    action_probs,
    exact_gradient,
    expected_reward,
    moved,
    teacher,
    token_scores,
)
from ekipl_lab.groups.weighting import WEIGHTINGS

P, Q, G = 0.332, 0.8, 2
MIDDLE = STATES["middle"]


def scene(reward="binary", update="first"):
    return study.Condition(reward, "middle", Q, update).scene()


def small(rule, baseline="kept", spread="none", **params):
    return Grouping(rule, params, baseline, spread, group_size=G, teacher_actions=1)


# ------------------------------------------------------------------------------------- the toy


def test_the_toy_by_hand():
    assert len(ACTIONS) == 27
    assert action_probs(MIDDLE).sum() == pytest.approx(1)
    assert action_probs(MIDDLE)[0] == pytest.approx(0.6 * 0.3 * 0.8)
    assert expected_reward(MIDDLE, REWARDS["binary"]) == pytest.approx(P)
    assert expected_reward(MIDDLE, REWARDS["with format"]) == pytest.approx(P + 0.8)
    for accuracy in study.TEACHERS:
        assert expected_reward(teacher(accuracy), REWARDS["binary"]) == pytest.approx(accuracy)
    assert [round(study.success(state), 3) for state in STATES] == [0.003, 0.332, 0.932]


def test_the_exact_gradient_by_hand_and_by_differences():
    gradient = exact_gradient(MIDDLE, REWARDS["binary"])
    # An ill-formed action earns 0: pi (0 - J) for the third logit of the first row.
    assert gradient[2] == pytest.approx(0.2 * (0 - P))
    step = 1e-5
    for place in (0, 4, 14):
        unit = np.eye(39)[place]
        up, down = (
            expected_reward(moved(MIDDLE, sign * unit, step), REWARDS["binary"]) for sign in (1, -1)
        )
        assert gradient[place] == pytest.approx((up - down) / (2 * step), rel=1e-6)


def test_scores_have_mean_zero():
    scores = token_scores(MIDDLE).sum(axis=1)
    assert np.abs(action_probs(MIDDLE) @ scores).max() < 1e-15


# -------------------------------------------------------------------------- hand-computed updates


def test_reinforce_is_unbiased_and_its_variance_is_known():
    found = measure(scene(), small("policy_only", "none"), OWN)
    assert found.bias < 1e-12 and found.cosine == pytest.approx(1)
    # u = mean over G of R s: trace of the covariance (E[R |s|^2] - |g|^2) / G.
    lengths = (token_scores(MIDDLE).sum(axis=1) ** 2).sum(axis=1)
    reward = REWARDS["binary"]
    gradient = exact_gradient(MIDDLE, reward)
    square = float((action_probs(MIDDLE) * reward.totals) @ lengths)
    assert found.variance == pytest.approx((square - gradient @ gradient) / G)


def test_the_group_mean_shrinks_the_update():
    """The mean holds the action's own reward: (G-1)/G. Leave-one-out does not."""
    assert measure(scene(), small("policy_only"), OWN).scale == pytest.approx(1 / 2)
    four = Grouping("policy_only", {}, "kept", "none")
    assert measure(scene(), four, OWN).scale == pytest.approx(3 / 4)
    left_out = measure(scene(), small("policy_only", "leave_one_out"), OWN)
    assert left_out.scale == pytest.approx(1) and left_out.bias < 1e-12


def test_top_g_is_biased_for_the_policys_own_rows():
    """Kept are: two rows of the policy if the only right action is one of them; the policy's first
    and the teacher's if only that is right; else equal rewards. E[s | right] = g/p, E[s | wrong] =
    -g/(1-p), A = +-0.5, so the policy's rows hold g times
    0.5/2 (2 p (1-p) (1-q) (1/p + 1/(1-p)) + (1-p)^2 q / (1-p)) = 0.25 (2 (1-q) + (1-p) q)."""
    found = measure(scene(), small("top_g"), OWN)
    assert found.policy_scale == pytest.approx(0.25 * (2 * (1 - Q) + (1 - P) * Q))
    assert found.policy_cosine == pytest.approx(1)
    assert found.policy_scale < 0.25  # where selection that ignores rewards leaves 1/2
    assert found.cosine < 0.9
    one_right = 2 * P * (1 - P) * (1 - Q) + (1 - P) ** 2 * Q
    assert found.zero_spread == pytest.approx(1 - one_right)
    # The teacher has a place if it is right and at most one row of the policy is.
    assert found.teacher_kept == pytest.approx(Q * (1 - P**2) / 2)


def test_top_g_with_format_turns_the_policys_own_rows():
    found = measure(scene("with format"), Grouping("top_g"), OWN)
    assert found.policy_cosine < 0.5
    assert measure(scene("with format"), Grouping("policy_only"), OWN).policy_cosine > 0.99
    start = study.Condition("with format", "start", Q).scene()
    assert measure(start, Grouping("top_g"), OWN).policy_cosine < -0.9


def test_the_spread_scales_binary_groups():
    """One of two right: 0.5 / (sqrt(0.5) + 1e-4); all else as without spread."""
    plain, spread = (
        measure(scene(), small("top_g", spread=name), OWN).scale for name in ("none", "group")
    )
    assert spread / plain == pytest.approx(1 / (math.sqrt(0.5) + 1e-4), rel=1e-6)


def test_pi_over_q_is_unbiased_without_selection_only():
    free = Weight("proposal_ratio_sequence", {"truncate": 1e12})
    everything = {"teacher_rows": 2, "choose": "first"}
    grouping = Grouping("quota", everything, "none", "none", group_size=2, teacher_actions=2)
    unselected = measure(scene(), grouping, free)
    assert unselected.cosine == pytest.approx(1, abs=1e-12)
    assert unselected.ess < 0.05
    # Selection rescales it, and with three values of the reward turns it too.
    selected, turned = (
        measure(scene(reward), Grouping("top_g", {}, "kept", "none"), free) for reward in REWARDS
    )
    assert selected.cosine == pytest.approx(1, abs=1e-12)
    assert turned.cosine < 0.5
    # Token by token it is not: tokens after an unlikely prefix are not reweighted for it.
    assert measure(scene(), grouping, Weight("proposal_ratio")).cosine < 0.99


def test_top_g_starves_itself():
    """M*k = G, teacher always right: G equal rewards, no update."""
    perfect = Scene(MIDDLE, MIDDLE, teacher(1.0), REWARDS["binary"])
    found = measure(perfect, Grouping("top_g", teacher_actions=4), OWN)
    assert found.zero_spread == pytest.approx(1.0) and found.cosine == pytest.approx(0.0)
    assert found.noise is None


def test_the_clip_acts_at_the_second_update_only():
    first, second = (measure(scene(update=u), Grouping("policy_only"), OWN) for u in study.UPDATES)
    assert first.idle == 0.0
    assert 0.05 < second.idle < 0.5
    assert second.cosine < first.cosine


# --------------------------------------------------------------- two ways to the same expectation


@pytest.mark.parametrize("update", study.UPDATES)
@pytest.mark.parametrize(
    ("rule", "weight", "reward"),
    [
        ("top_g", "policy_ratio", "with format"),
        ("max_variance", "proposal_ratio", "binary"),
        ("quota", "proposal_ratio_sequence", "with format"),
        ("on_failure", "decoupled", "with format"),
        ("top_g", "shaped", "binary"),
        ("max_variance", "mixture_ratio", "with format"),
    ],
)
def test_patterns_give_what_all_actions_give(rule, weight, reward, update):
    """All 27^3 groups, each put through `build_group` and TRL's surrogate, one by one."""
    at, grouping, weight = scene(reward, update), small(rule, "policy", "group"), Weight(weight)
    every = np.array(list(itertools.product(range(27), repeat=3)))
    chance = action_probs(at.old)[every[:, :2]].prod(axis=1)
    chance = chance * action_probs(at.teacher)[every[:, 2]]
    updates = group_updates(at, grouping, weight, every)

    table, rows = group_table(grouping, at.reward), row_moments(at, weight)
    found, _ = expected_update(table, rows, pattern_probs(table, rows))
    square = mean_square(table, rows, pattern_probs(table, rows))
    assert found == pytest.approx(chance @ updates, abs=1e-9)
    assert square == pytest.approx(float(chance @ (updates**2).sum(axis=1)), rel=1e-6)


@pytest.mark.parametrize("name", sorted(WEIGHTINGS))
def test_trls_loss_and_the_objective_have_one_slope(name):
    at = scene(update="second")
    direct = token_slopes(at, Weight(name)).by_sign
    for index, sign in enumerate(SIGNS):
        by_trl = trl_slopes(at, Weight(name), np.arange(27), np.full(27, sign))
        assert sign * by_trl == pytest.approx(sign * direct[index], abs=1e-12)


def test_drawing_groups_agrees_and_would_notice():
    at, grouping = scene(), Grouping("top_g")
    table, rows = group_table(grouping, at.reward), row_moments(at, OWN)
    update, _ = expected_update(table, rows, pattern_probs(table, rows))
    drawn = simulate(at, grouping, OWN, groups=3000, seed=1)
    assert float(np.abs(drawn.z(update)).max()) < 4.5
    assert float(np.abs(drawn.z(1.2 * update)).max()) > 5
    again = simulate(at, grouping, OWN, groups=3000, seed=1)
    assert (again.mean == drawn.mean).all()


# ----------------------------------------------------------------------- anchors, table, figure


def test_anchors_hold():
    broken = [anchor for anchor in study.anchors() if not anchor.holds]
    assert not broken
    assert len(study.anchors()) == 16
    assert not replace(study.anchors()[2], expected=1.0).holds


@pytest.fixture(scope="module")
def committed():
    return report.from_json((ROOT / "results/bias_lab/table.json").read_text(encoding="utf-8"))


def test_the_committed_table_is_what_the_core_does_now(committed):
    """Every estimator in the condition shown, recomputed; 3 digits were kept."""
    fresh = report.Results((), (), list(study.lines(study.SHOWN)))
    fresh = report.from_json(report.to_json(fresh))
    assert len(fresh.lines) == (6 * len(WEIGHTINGS) + 1) * 9
    for line in fresh.lines:
        kept = committed.find(line.condition, line.estimator)
        for name, value in vars(line.measured).items():
            assert getattr(kept, name) == pytest.approx(value, rel=0.011, abs=1e-6), (line, name)


def test_the_committed_table_is_whole(committed):
    assert len(committed.lines) == len(study.conditions()) * 333
    assert len({(line.condition, line.estimator) for line in committed.lines}) == 7992
    assert all(anchor.holds for anchor in committed.anchors)
    assert all(check.rms_z < 1.6 and check.max_z < 4.5 for check in committed.checks)
    assert {check.weighting for check in committed.checks} == set(WEIGHTINGS)


def test_documents_show_the_committed_table(committed):
    section = report.to_markdown(committed)
    assert (ROOT / "results/bias_lab/table.md").read_text(encoding="utf-8").endswith(section)
    page = (ROOT / "docs/bias_lab.md").read_text(encoding="utf-8")
    assert "](../results/bias_lab/table.md)" in page
    assert report.COMMAND in page
    for rule in study.SELECTIONS:
        m = committed.find(study.SHOWN, study.Estimator(rule.label, "policy_ratio"))
        cells = (f"{v:.2f}" for v in (m.cosine, m.scale, m.bias))
        rest = (f"{m.noise:.1f}", f"{m.zero_spread:.2f}", f"{m.teacher_kept:.2f}")
        assert f"| {' | '.join([rule.label, *cells, *rest])} |" in page


def test_json_keeps_what_it_is_given(committed):
    assert report.from_json(report.to_json(committed)) == committed


def test_the_figure_shows_the_table(committed):
    figure = cosine_figure(committed, "binary")
    assert len(figure.data) == 9
    middle = figure.data[4]  # policy in the middle, teacher 80 %
    assert middle.y[1] == "top_g" and middle.x[0] == "policy_ratio"
    expected = committed.find(study.SHOWN, study.Estimator("top_g", "policy_ratio"))
    assert middle.z[1][0] == expected.cosine


def test_wrong_use_is_one_sentence(tmp_path, capsys):
    assert main(["--out", str(tmp_path), "--groups", "1"]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error == "--groups is 1; a standard error needs at least 2."


@pytest.mark.slow
def test_the_command_makes_the_committed_table_again(committed, tmp_path):
    assert main(["--out", str(tmp_path), "--groups", "200"]) == 0
    fresh = report.from_json((tmp_path / "table.json").read_text())
    assert [line.condition for line in fresh.lines] == [line.condition for line in committed.lines]
    for line, kept in zip(fresh.lines, committed.lines, strict=True):
        assert line.estimator == kept.estimator
        for name, value in vars(line.measured).items():
            assert getattr(kept.measured, name) == pytest.approx(value, rel=0.011, abs=1e-6)
    assert "### Anchors" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "cosine_binary.html").stat().st_size > 1_000_000
