"""The grid of the bias lab, and the anchors: estimators whose expected update is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

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


class Estimator(NamedTuple):
    """The names that tell an estimator from the others of its condition."""

    selection: str
    weighting: str
    baseline: str = "kept"
    scale_rewards: str = "group"


@dataclass(frozen=True)
class Line:
    """One estimator in one condition."""

    condition: Condition
    estimator: Estimator
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
                grouping = replace(selection, baseline=baseline, scale_rewards=spread)
                table = group_table(grouping, scene.reward)
                for weight in WEIGHTS if selection.rule != "policy_only" else (OWN,):
                    found = measured(table, moments[weight.name], *gradients)
                    names = Estimator(selection.label, weight.label, baseline, spread)
                    yield Line(condition, names, found)


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
    """In the condition shown; see docs/bias_lab.md for why each must hold.

    REINFORCE on the policy's own actions; then all actions from the teacher, none selected (a
    quota of G teacher rows, the first ones: rewards choose nothing), weighted by the untruncated
    product of pi/q; then selection with a binary reward; then a teacher that is the policy itself,
    a row of it always in the group; then as many teacher actions as places, always right.
    """
    scene, kept = SHOWN.scene(), 1 - 1 / SELECTIONS[0].group_size
    twin = Scene(scene.now, scene.old, scene.old, scene.reward)
    always_right = Condition("binary", "middle", 1.0).scene()
    exact = Weight("proposal_ratio_sequence", {"truncate": 1e12})
    selected = Grouping("top_g", {}, "kept", "none")
    first = Grouping("quota", {"choose": "first"}, "kept", "none")

    def own(baseline: str, spread: str = "none") -> Measured:
        return measure(scene, Grouping("policy_only", {}, baseline, spread), OWN)

    def proposal(baseline: str = "none") -> Measured:
        params = {"teacher_rows": 4, "choose": "first"}
        grouping = Grouping("quota", params, baseline, "none", teacher_actions=4)
        return measure(scene, grouping, exact)

    starved = measure(always_right, Grouping("top_g", teacher_actions=4), OWN)
    own_rows = measure(scene, selected, OWN).policy_cosine
    twins = ("policy_ratio", "proposal_ratio", "proposal_ratio_sequence", "decoupled")
    spread = own("kept", "group").cosine
    return [
        Anchor("policy_only, no baseline, no spread: bias", 0.0, own("none").bias),
        Anchor("policy_only, leave-one-out baseline: bias", 0.0, own("leave_one_out").bias),
        Anchor("policy_only, kept mean, no spread: scale (G-1)/G", kept, own("kept").scale),
        Anchor("policy_only, kept mean, no spread: cosine", 1.0, own("kept").cosine),
        Anchor("policy_only, kept mean and spread, binary reward: cosine", 1.0, spread, 1e-6),
        Anchor("all actions from q, product of pi/q, A = R: cosine", 1.0, proposal().cosine),
        Anchor("the same: scale", 1.0, proposal().scale),
        Anchor("the same, kept mean: scale (G-1)/G", kept, proposal("kept").scale),
        Anchor("top_g, binary reward: cosine of the policy's own rows", 1.0, own_rows),
        Anchor(
            "top_g, binary reward, product of pi/q: cosine",
            1.0,
            measure(scene, selected, exact).cosine,
        ),
        *(
            Anchor(
                f"teacher = policy, quota of the first, {name}, kept mean: scale (G-1)/G",
                kept,
                measure(twin, first, Weight(name)).scale,
            )
            for name in twins
        ),
        Anchor(
            "top_g, M*k = G, teacher always right: share of groups without spread",
            1.0,
            starved.zero_spread,
        ),
        Anchor("the same: scale", 0.0, starved.scale, 1e-4),
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
    found = []
    for seed, (grouping, weight) in enumerate([(SELECTIONS[0], OWN), *chosen]):
        reward = ("binary", "with format")[seed % 2]
        condition = Condition(reward, "middle", 0.8, UPDATES[seed % 3 == 1])
        scene = condition.scene()
        table, rows = group_table(grouping, scene.reward), row_moments(scene, weight)
        chance = pattern_probs(table, rows)
        update, _ = expected_update(table, rows, chance)
        drawn = simulate(scene, grouping, weight, groups=groups, seed=seed)
        z = drawn.z(update)
        sizes = float(np.sqrt((z**2).mean())), float(np.abs(z).max())
        variances = mean_square(table, rows, chance) - float(update @ update), drawn.variance
        names = grouping.label, weight.label
        found.append(Check(condition, *names, groups, seed, *sizes, *variances))
    return found


def success(state: str) -> float:
    """How often the policy in that state is right."""
    return expected_reward(STATES[state], REWARDS["binary"])
