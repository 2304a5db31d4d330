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
# # 7 · Evaluation and statistics: what may be concluded
#
# A number without an interval is an anecdote. This notebook goes from one measured share to a claim
# about a method: how far a share may be off, how pass@k is estimated, why models are compared item
# by item, what happens when many families are tested at once, and why a method needs several seeds.
#
# Everything is measured here, on shipped policies and, at the end, on runs trained in the cell.
# `MODE = "quick"` takes about a minute on one CPU core; `"full"` takes more items, longer runs and
# more seeds.

# %% tags=["parameters"]
import os

MODE = os.environ.get("MODE", "quick")
NAME = "seeds"
FAMILIES = ["compare", "compare_material", "remove_compare", "count_three"]

# %%
import pandas as pd

import ekipl_lab as ek

QUICK = MODE == "quick"
samples = ek.load_samples(
    "mini",
    task="counting",
    families=FAMILIES,
    split="validation",
    limit=40 if QUICK else 400,
)
ours = ek.load_policy("assets/policies/counting_study")
other = ek.load_policy("assets/policies/counting_teacher")

# %% [markdown]
# ## One share, and how far it may be off
#
# The study policy answers every question once, greedily. The share of right answers has Wilson's
# interval: in 95 of 100 such samples of questions the true share lies inside.

# %%
greedy = ek.evaluate(ours, samples, max_new_tokens=80)
greedy.summary.query("metric == 'accuracy_greedy'").round(3)

# %%
ek.show(ek.plot_metrics({"study policy": greedy}, ["accuracy_greedy"], title="By family"))

# %% [markdown]
# The intervals of single families are wide. How wide depends on the number of items, and only by
# its square root: to halve an interval takes four times as many. Read off how many items the
# difference needs that you want to see.

# %%
ek.show(ek.plot_widths([0.5, 0.9], [10, 25, 50, 100, 200, 400, 800]))

# %% [markdown]
# ## pass@k
#
# pass@k is the chance that at least one of k sampled answers is right: what the policy *can* find,
# where greedy accuracy is what it *prefers*. From n samples of an item, c of them right, the
# unbiased estimate is 1 - C(n-c, k) / C(n, k). Two shortcuts are common and worse: to look at the
# first k samples alone is right on average and noisy; 1 - (1 - c/n)^k is biased, and too low.

# %%
sampled = ek.evaluate(ours, samples, mode="sampled", num_samples=16, max_new_tokens=80)
ek.estimators(sampled, [1, 2, 4, 8])

# %%
by_family = {
    family: ek.Evaluation(tuple(r for r in sampled.records if r.family == family))
    for family in FAMILIES
}
ek.show(ek.plot_pass_at_k(by_family, [1, 2, 4, 8, 16], title="pass@k by family"))

# %% [markdown]
# A steep curve is a family that the policy finds and does not prefer: there reinforcement has
# something to work with. A flat one at the top is solved, a flat one at the bottom is out of reach.
# The k of one figure must be the k of the other: pass@16 beside pass@1 of another model says
# nothing.
#
# ## Two models: compare them item by item
#
# Another policy, the one that teaches in studies, answers the same questions. Two separate
# intervals ask more than is needed: most of their width is how hard the questions are, which is the
# same for both. The difference of each item takes that out. `won` and `lost` are the items that
# only one of the two answers rightly; McNemar's exact test asks whether a coin would split them as
# unevenly.

# %%
theirs = ek.evaluate(other, samples, max_new_tokens=80)
one = ek.compare(theirs, greedy)
values = {
    "study policy": one.value_b,
    "other policy": one.value_a,
    "difference": one.difference,
    "interval, from": one.low,
    "interval, to": one.high,
    "items won": len(one.wins),
    "items lost": len(one.losses),
    "p, McNemar": one.p_value,
}
pd.DataFrame({"value": {name: f"{value:.3g}" for name, value in values.items()}})

# %% [markdown]
# An item that was won is worth looking at: numbers say that two models differ, pictures say where.

# %%
won = one.wins or one.losses or (samples[0].id,)
ek.show(ek.load_sample(won[0], image_size=224))
answers = {
    name: {r.sample_id: r.actions[0].completion for r in evaluation.records}[won[0]]
    for name, evaluation in {"study policy": greedy, "other policy": theirs}.items()
}
ek.show(pd.DataFrame({"answer": answers}))

# %% [markdown]
# ## Many families, many tests
#
# Test four families at 5 % each, and the chance that at least one shows a difference that is not
# there is up to 19 %. Holm's procedure raises the p-values so that it stays below 5 % over all of
# them. Decide *before* looking which comparisons are made, and count them all.

# %%
ek.by_group(theirs, greedy)

# %% [markdown]
# ## A method is not a model: seeds
#
# All intervals so far are about *these two policies*. A claim about a *method* must hold when it is
# trained again. So train two arms, GRPO and the paper's rule with a teacher, from several seeds,
# and measure all of them on the same items. In quick mode the runs are four steps long: what is to
# be seen is the arithmetic, not an effect.

# %%
SHORT = [
    "grpo.max_steps=4",
    "grpo.warmup_steps=0",
    "grpo.per_device_train_batch_size=16",
    "data.limit=64",
    "tracking.checkpoint_every=4",
]
common = [
    "tracking.experiment=notebooks",
    "evaluation.at_end=false",
    "evaluation.every=0",
    *(SHORT if QUICK else []),
]
arms = {
    "grpo": ["teachers=[]", "ekipl.selection=policy_only"],
    "paper": [],
}
seeds = [0, 1, 2] if QUICK else [0, 1, 2, 3, 4]
few = samples[:24] if QUICK else samples
measured = {
    arm: ek.train_seeds("configs/studies/counting.yaml", f"{NAME}_{arm}", seeds, few, common + own)
    for arm, own in arms.items()
}

# %% [markdown]
# For each seed the difference of the two arms, each of them a run of its own. The interval that
# counts for a method is the one over seeds (Student's t of these differences, paired by seed): few
# seeds make it wide, and honestly so. The interval over items, as above, answers another question:
# whether these very runs differ.

# %%
ek.compare_arms(measured["paper"], measured["grpo"])

# %% [markdown]
# Runs of a useful length are committed: GRPO over 200 steps from three seeds, measured on 100 items
# a family. Here the interval over seeds leaves out 0 in the families that were trained: that is a
# claim about the method, on these items.

# %%
pilots = ek.pilots("grpo_pilots")
long = pilots[(pilots.pilot == "open") & (pilots.settings == "grpo.max_steps=200")]
ek.show(ek.over_seeds(long).query("metric == 'sampled'"))

# %% [markdown]
# ## How many seeds?
#
# Ask before the study. It depends on the difference that you want to find and on how much the
# per-seed differences scatter, which a pilot of a few seeds tells. Here: the chance that a paired
# t test finds a difference of 3 points.

# %%
ek.show(ek.plot_power(0.03, [0.01, 0.02, 0.03], list(range(2, 21))))

# %%
from ekipl_lab.statistics import seeds_needed

spreads = [0.01, 0.02, 0.03, 0.05]
pd.DataFrame(
    {
        f"{points} points": [seeds_needed(points / 100, spread) for spread in spreads]
        for points in (2, 3, 5)
    },
    index=pd.Index([f"{100 * spread:.0f} points" for spread in spreads], name="spread"),
).rename_axis(columns="seeds needed for 80 % power")

# %% [markdown]
# ## What to write down
#
# - the share *with* its interval, the number of items, and how answers were sampled;
# - differences paired by item, with the items won and lost;
# - for a method the per-seed differences, their t interval, and the number of comparisons that
#   Holm's procedure was over;
# - what was chosen on which split. A figure by which something was chosen is no estimate of it.
#
# `ekipl eval` keeps all of it in one folder, `ekipl report` puts runs side by side
# (docs/evaluation.md), and a study ([08](08_ablations.ipynb)) does it for many arms at once.
