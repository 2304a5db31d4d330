"""The grid of the bias lab, and the anchors: estimators whose expected update is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ekipl_lab.biaslab.groups import Grouping, group_table
from ekipl_lab.biaslab.measure import (
    ACCURACY,
    Measured,
    expected_update,
    mean_square,
    measure,
    measured,
    pattern_probs,
)
from ekipl_lab.biaslab.rows import OWN, Scene, Weight, row_moments
from ekipl_lab.biaslab.simulate import simulate
from ekipl_lab.biaslab.toy import (
    REWARDS,
    STATES,
    exact_gradient,
    expected_reward,
    moved,
    teacher,
)
from ekipl_lab.groups.advantages import BASELINES, SPREADS
from ekipl_lab.groups.weighting import WEIGHTINGS

#: Rules with their parameters; `policy_only` has no teacher rows, hence no weighting.
SELECTIONS = (
    Grouping("policy_only"),
    Grouping("top_g"),
    Grouping("top_g", {"keep_failures": 1}),
    Grouping("max_variance"),
    Grouping("quota", {"choose": "best"}),
    Grouping("quota", {"choose": "first"}),
    Grouping("on_failure"),
)
WEIGHTS = tuple(Weight(name) for name in WEIGHTINGS)
TEACHERS = (0.5, 0.8, 1.0)
#: How far the logits have gone at the second update of a generation (Euclidean, along g).
DRIFT = 0.5
UPDATES = ("first", "second")


@dataclass(frozen=True)
class Condition:
    """One line's setting besides the estimator; ``update`` is first (ratio 1) or second."""

    reward: str
    state: str
    teacher: float
    update: str = "first"

    def scene(self) -> Scene:
        """The policies, teacher and reward that it names."""
        reward, old = REWARDS[self.reward], STATES[self.state]
        now = old if self.update == "first" else moved(old, exact_gradient(old, reward), DRIFT)
        return Scene(now, old, teacher(self.teacher), reward)


#: The one that the tables of the report show.
SHOWN = Condition("binary", "middle", 0.8)


@dataclass(frozen=True)
class Line:
    """One estimator in one condition."""

    condition: Condition
    selection: str
    weighting: str
    baseline: str
    scale_rewards: str
    measured: Measured


def conditions() -> list[Condition]:
    """Every reward, state and teacher at ratio 1; the second update with the 80 % teacher."""
    first = [Condition(r, s, t) for r in REWARDS for s in STATES for t in TEACHERS]
    return first + [Condition(r, s, 0.8, "second") for r in REWARDS for s in STATES]


def lines(condition: Condition) -> Iterator[Line]:
    """Every selection x weighting x baseline x spread in that condition."""
    scene = condition.scene()
    gradients = exact_gradient(scene.now, scene.reward), exact_gradient(scene.now, ACCURACY)
    moments = {weight.name: row_moments(scene, weight) for weight in WEIGHTS}
    for selection in SELECTIONS:
        for baseline in BASELINES:
            for spread in SPREADS:
                grouping = with_baseline(selection, baseline, spread)
                table = group_table(grouping, scene.reward)
                for weight in WEIGHTS if selection.rule != "policy_only" else (OWN,):
                    found = measured(table, moments[weight.name], *gradients)
                    yield Line(condition, selection.label, weight.label, baseline, spread, found)


def with_baseline(selection: Grouping, baseline: str, spread: str) -> Grouping:
    """The same rule with another advantage."""
    return Grouping(selection.rule, selection.params, baseline, spread)


# ------------------------------------------------------------------------------------- anchors


@dataclass(frozen=True)
class Anchor:
    """A number known beforehand and the number found."""

    claim: str
    expected: float
    found: float
    tolerance: float = 1e-9

    @property
    def holds(self) -> bool:
        """Whether they agree."""
        return abs(self.expected - self.found) <= self.tolerance


def anchors() -> list[Anchor]:
    """In the condition shown; see docs/bias_lab.md for why each must hold."""
    return [*unbiased_policy(), *unbiased_proposal(), *same_teacher(), *starved()]


def unbiased_policy() -> list[Anchor]:
    """REINFORCE on the policy's own actions."""
    scene, size = SHOWN.scene(), SELECTIONS[0].group_size

    def own(baseline: str, spread: str = "none") -> Measured:
        return measure(scene, Grouping("policy_only", {}, baseline, spread), OWN)

    return [
        Anchor("policy_only, no baseline, no spread: bias", 0.0, own("none").bias),
        Anchor("policy_only, leave-one-out baseline: bias", 0.0, own("leave_one_out").bias),
        Anchor("policy_only, kept mean, no spread: scale (G-1)/G", 1 - 1 / size, own("kept").scale),
        Anchor("policy_only, kept mean, no spread: cosine", 1.0, own("kept").cosine),
        Anchor(
            "policy_only, kept mean and spread, binary reward: cosine",
            1.0,
            own("kept", "group").cosine,
            1e-6,
        ),
    ]


def unbiased_proposal() -> list[Anchor]:
    """All actions from the teacher, none selected, weighted by the untruncated product of pi/q.

    The quota of G teacher rows, the first ones, is that: rewards choose nothing.
    """
    scene, exact = SHOWN.scene(), Weight("proposal_ratio_sequence", {"truncate": 1e12})

    def proposal(weight: Weight, baseline: str = "none") -> Measured:
        params = {"teacher_rows": 4, "choose": "first"}
        grouping = Grouping("quota", params, baseline, "none", teacher_actions=4)
        return measure(scene, grouping, weight)

    selected = Grouping("top_g", {}, "kept", "none")
    return [
        Anchor("all actions from q, product of pi/q, A = R: cosine", 1.0, proposal(exact).cosine),
        Anchor("the same: scale", 1.0, proposal(exact).scale),
        Anchor("the same, kept mean: scale (G-1)/G", 0.75, proposal(exact, "kept").scale),
        Anchor(
            "top_g, binary reward: cosine of the policy's own rows",
            1.0,
            measure(scene, selected, OWN).policy_cosine,
        ),
        Anchor(
            "top_g, binary reward, product of pi/q: cosine",
            1.0,
            measure(scene, selected, exact).cosine,
        ),
    ]


def same_teacher() -> list[Anchor]:
    """A teacher that is the policy itself, a row of it always in the group: nothing may change."""
    scene = SHOWN.scene()
    twin = Scene(scene.now, scene.old, scene.old, scene.reward)
    grouping = Grouping("quota", {"choose": "first"}, "kept", "none")
    return [
        Anchor(
            f"teacher = policy, quota of the first, {name}, kept mean: scale (G-1)/G",
            0.75,
            measure(twin, grouping, Weight(name)).scale,
        )
        for name in ("policy_ratio", "proposal_ratio", "proposal_ratio_sequence", "decoupled")
    ]


def starved() -> list[Anchor]:
    """As many teacher actions as places, always right: top_g keeps G rewards of 1."""
    condition = Condition("binary", "middle", 1.0)
    found = measure(condition.scene(), Grouping("top_g", teacher_actions=4), OWN)
    return [
        Anchor(
            "top_g, M*k = G, teacher always right: share of groups without spread",
            1.0,
            found.zero_spread,
        ),
        Anchor("the same: scale", 0.0, found.scale, 1e-4),
    ]


# ---------------------------------------------------------------------------- drawing at random


@dataclass(frozen=True)
class Check:
    """An enumerated update against ``groups`` drawn ones.

    rms_z is the root mean square over parameters of (drawn - exact) / standard error, about 1 where
    they agree; max_z the largest.
    """

    condition: Condition
    selection: str
    weighting: str
    groups: int
    seed: int
    rms_z: float
    max_z: float
    variance: float
    drawn_variance: float


def checks(groups: int) -> list[Check]:
    """One for every weighting and rule, at the first and the second update, by turns."""
    chosen = [(SELECTIONS[1 + i % 6], weight) for i, weight in enumerate(WEIGHTS)]
    out = []
    for seed, (selection, weight) in enumerate([(SELECTIONS[0], OWN), *chosen]):
        reward = ("binary", "with format")[seed % 2]
        condition = Condition(reward, "middle", 0.8, UPDATES[seed % 3 == 1])
        out.append(check(condition, selection, weight, groups, seed))
    return out


def check(
    condition: Condition, grouping: Grouping, weight: Weight, groups: int, seed: int
) -> Check:
    """Enumerate and draw the same estimator."""
    scene = condition.scene()
    table, rows = group_table(grouping, scene.reward), row_moments(scene, weight)
    chance = pattern_probs(table, rows)
    update, _ = expected_update(table, rows, chance)
    drawn = simulate(scene, grouping, weight, groups=groups, seed=seed)
    z = drawn.z(update)
    variance = mean_square(table, rows, chance) - float(update @ update)
    return Check(
        condition,
        grouping.label,
        weight.label,
        groups,
        seed,
        float(np.sqrt((z**2).mean())),
        float(np.abs(z).max()),
        variance,
        drawn.variance,
    )


def success(state: str) -> float:
    """How often the policy in that state is right."""
    return expected_reward(STATES[state], REWARDS["binary"])
