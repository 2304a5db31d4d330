# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 4 · One action group, by hand
#
# Everything that Vision-EKIPL does happens within one group: candidates of one prompt from policy
# and teachers, some kept, each kept one above or below the group's mean, and a gradient for each.
# This notebook goes through it once, with the trainer's own functions, and then turns every knob.

# %% tags=["parameters"]
import os

MODE = os.environ.get("MODE", "quick")

# %%
import pandas as pd
import plotly.express as px

import ekipl_lab as ek
from ekipl_lab.biaslab.groups import Grouping
from ekipl_lab.biaslab.measure import measure
from ekipl_lab.biaslab.rows import Weight
from ekipl_lab.biaslab.study import Condition, anchors
from ekipl_lab.notebook import by_hand, quiet, tables
from ekipl_lab.notebook.gradients import action_gradients
from ekipl_lab.policies import PolicySource, load_policy
from ekipl_lab.rewards import get_scorer
from ekipl_lab.tracking.store import project_root

FULL = MODE == "full"
STYLE = {"template": "plotly_white", "height": 360}
G = 8

# %% [markdown]
# ## The pool
#
# The policy samples G = 8 completions; two teachers add two each. From a few prompts, take the
# first on which the policy is right sometimes: there is something to compare.

# %%
quiet()  # no bar of progress in the output
policy = load_policy(project_root() / "assets/policies/counting_study")
samples = ek.load_samples(
    "mini", task="counting", families=["compare_material"], split="train", limit=12
)
params = ek.GenerationParams(seed=1)
proposed = PolicySource(policy).propose(samples, G, params)
scorer = get_scorer("ekipl/auto")
sample, own = next(
    (sample, actions)
    for sample, actions in zip(samples, proposed, strict=True)
    if 2 <= sum(bool(scorer(sample, action).success) for action in actions) <= 4
)
teachers = [
    ek.build_teacher({"type": "oracle", "id": "careful", "accuracy": 1.0, "style": "walk"}),
    ek.build_teacher({"type": "oracle", "id": "sloppy", "accuracy": 0.0, "style": "walk"}),
]
actions = [*own, *(action for t in teachers for action in t.propose([sample], 2, params)[0])]
pool = by_hand.Pool(sample, tuple(actions), tuple(scorer(sample, action) for action in actions))
ek.show(sample)

# %%
found = tables.action_table([sample], [actions]).set_axis(pool.labels)
found.drop(columns=["source", "completion"])

# %% [markdown]
# ## Select
#
# Twelve candidates, eight places. The paper's rule keeps the eight highest rewards; a tie goes to
# the policy. Every dropped candidate stays in the record.

# %%
group = pool.group("top_g")
ek.show(group)

# %% [markdown]
# ## Every rule, side by side
#
# The same twelve candidates under each rule: blank is dropped, blue is made likelier, orange less
# likely. `policy_only` is GRPO itself.

# %%
ek.show(by_hand.advantage_map(pool, by_hand.under_every_rule(pool), "Advantages by rule"))

# %% [markdown]
# Which rule is right depends on how good the policy already is on a prompt. Move the slider: from
# none of eight right to all of them, with one teacher action right and one wrong.
#
# - At 0 right GRPO learns nothing; every rule that lets the teacher in does.
# - At 7 and 8 `top_g` keeps only right actions: no spread, no lesson (`keep_failures` saves one).
# - `on_failure` is GRPO as soon as the policy succeeds once.

# %%
maps = {}
for count in range(G + 1):
    outcomes = by_hand.pool_of_outcomes(count, policy=G)
    groups = by_hand.under_every_rule(outcomes)
    maps[str(count)] = by_hand.advantage_map(outcomes, groups, "Advantages by rule")
ek.show(by_hand.with_slider(maps, "right actions of the policy", start="2"))

# %% [markdown]
# The same as one picture: what share of the pull is the teacher's? (0.5: half of all |advantage|.)

# %%
shares = pd.DataFrame(
    {
        "right of 8": count,
        "rule": rule,
        "teacher's share": by_hand.teacher_share(found),
    }
    for count in range(G + 1)
    for rule, found in by_hand.under_every_rule(by_hand.pool_of_outcomes(count, policy=G)).items()
)
ek.show(
    px.line(
        shares,
        x="right of 8",
        y="teacher's share",
        color="rule",
        line_dash="rule",
        markers=True,
        title="How much of a group's pull comes from the teacher (no point: nothing is learned)",
    ).update_layout(STYLE)
)

# %% [markdown]
# ## Advantages: against which mean, in which unit
#
# An advantage is (reward - baseline) / spread. The paper takes both over the *kept* actions. If
# only good ones are kept, the mean is high, and the policy's own good actions look bad. A baseline
# over the whole pool, or over the policy's own actions, says something else about the same group:

# %%
baselines = by_hand.under_every_baseline(pool, "top_g")
ek.show(by_hand.advantage_map(pool, baselines, "Advantages under top_g, by baseline and spread"))

# %% [markdown]
# ## Weights of a teacher's tokens
#
# Policy tokens are weighted by pi / pi_old. What about tokens that the policy never sampled? Each
# curve is one weighting: how hard does a token of advantage 1 pull, depending on how likely the
# policy finds it (x) and how likely the teacher did (slider)? At the first update `policy_ratio` is
# a flat 1: imitation, weighted by the advantage. `shaped` and `mixture_ratio` let go of tokens that
# the policy finds impossible; those with pi / q pull less on them the surer the teacher was.

# %%
curves = {f"{q:g}": by_hand.slope_figure(q, ratio=1.0) for q in (0.05, 0.5, 0.9)}
for figure in curves.values():
    figure.update_layout(title="First update of a generation: pi = pi_old")
ek.show(by_hand.with_slider(curves, "teacher's own probability q", start="0.5"))

# %% [markdown]
# At a second update the policy has moved. Once a token is 1.2 times as likely as when the batch was
# sampled, the clipped weightings let go of it altogether:

# %%
moved = {f"{ratio:g}": by_hand.slope_figure(0.5, ratio) for ratio in (0.8, 1.0, 1.3)}
for figure in moved.values():
    figure.update_layout(title="Second update: the policy has moved (q = 0.5)")
ek.show(by_hand.with_slider(moved, "pi / pi_old", start="1.3"))

# %% [markdown]
# ## The gradient that each action gets
#
# Now the real thing, on the parameters of this policy. For each kept action: `nll`, how unlikely
# the policy finds a token of it; `pull`, the length of its gradient; `along`, its part of the whole
# update (they add up to 1; below 0 it pulls against the rest).

# %%
gradients = action_gradients(policy, group)
gradients.round(3)

# %%
ek.show(
    px.bar(
        gradients.reset_index().melt("action", ["advantage", "pull", "along"], "of the action"),
        x="action",
        y="value",
        color="of the action",
        barmode="group",
        title="Advantage, length of the gradient, part of the update",
    ).update_layout(STYLE)
)

# %% [markdown]
# Like advantages do not mean like pulls: an action that the policy finds unlikely has a longer
# gradient. How much of it is left is the weighting's choice:

# %%
by_weight = pd.concat(
    action_gradients(policy, pool.group("quota", teacher_rows=2), weighting=name).assign(
        weighting=name
    )
    for name in ("policy_ratio", "shaped", "mixture_ratio")
)
by_source = by_weight.assign(
    source=["teacher" if "policy" not in a else "policy" for a in by_weight.index]
)
ek.show(
    px.bar(
        by_source.groupby(["weighting", "source"], sort=False)["along"].sum().reset_index(),
        x="weighting",
        y="along",
        color="source",
        title="Whose update is it? One group under quota with two teacher rows",
    ).update_layout(STYLE)
)

# %% [markdown]
# ## The bias lab: does it point uphill?
#
# GRPO's update estimates the gradient of expected reward. With a teacher's actions in the group,
# and some left out because of their reward, what does it estimate? On a policy with 27
# possible actions the exact gradient is a sum. Colour: the cosine between the expected update and
# that gradient (blue uphill, orange downhill); number: how much of it the update holds. The
# committed tables, by policy and teacher:

# %%
figures = by_hand.bias_figures("binary")
ek.show(by_hand.with_slider(figures, "scene", start="policy right 33.2%, teacher 80%"))

# %% [markdown]
# Three things to see: GRPO (`policy_only`) points uphill everywhere; a policy that is right 0.3 %
# of the time is pulled sideways by every rule that imitates (that *is* imitation, and may still
# pay); and no weighting undoes a selection by reward. One estimator, computed now:

# %%
scene = Condition("with format", "start", 0.8).scene()
rules = {"policy_only": {}, "top_g": {}, "quota": {"choose": "first"}, "on_failure": {}}
measured = {
    rule: measure(scene, Grouping(rule, options), Weight("policy_ratio"))
    for rule, options in rules.items()
}
pd.DataFrame(
    {
        "cosine": found.cosine,
        "scale": found.scale,
        "cosine of the policy's own rows": found.policy_cosine,
        "groups without spread": found.zero_spread,
        "teacher's share of rows": found.teacher_kept,
    }
    for found in measured.values()
).set_axis(measured).round(3)

# %% [markdown]
# With a reward for the format beside the one for accuracy, `top_g` turns the *policy's own* rows
# downhill: the teacher's actions push well-formed, wrong ones below the mean. And the lab checks
# itself: numbers known beforehand, from textbook identities, against those it finds.

# %%
pd.DataFrame(
    {"known": a.expected, "found": round(a.found, 6), "holds": a.holds, "claim": a.claim}
    for a in (anchors() if FULL else anchors()[:6])
).set_index("claim")

# %% [markdown]
# ## Next
#
# - [docs/method.md](../docs/method.md): every formula with its setting and source;
#   [docs/bias_lab.md](../docs/bias_lab.md): how to read the lab, and what it cannot say.
# - [00_quickstart](00_quickstart.ipynb) rebuilds a group of a real run in the same way.
# - A rule of your own is one function: [docs/extend.md](../docs/extend.md).
