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
# # 8 · Ablations: which part does it?
#
# The paper's rule has many parts: a teacher, a rule that selects, advantages over what was kept, a
# learning rate. An ablation changes one of them and leaves the rest. A *study* is a file that says
# which arms are compared, on which tasks and from which seeds; each of its cells (arm x task x
# seed) leaves one small record, and everything else is made from the records.
#
# This notebook lists the studies, reads the records that are committed, reads the pilots that
# settled the settings, and runs a small study of two cells. `MODE = "quick"` takes about a minute
# on one CPU core.

# %% tags=["parameters"]
import os

MODE = os.environ.get("MODE", "quick")
STUDY = "configs/studies/counting_confirm.yaml"
RULE = "configs/studies/counting_rule.yaml"
SMALL = "configs/studies/small.yaml"

# %% [markdown]
# ## The studies of this project
#
# What each asks, how many cells it has, and how many of these have a record in `results/studies/`.
# A study without records has no answer yet, and nothing here makes one up.

# %%
import ekipl_lab as ek

ek.show(ek.list_studies())

# %% [markdown]
# ## What the arms are
#
# Each arm is a sequence of stages from one start: supervised steps, or a run of the trainer. They
# differ from the base config (`configs/studies/counting.yaml`, the paper's rule with one teacher)
# by a preset of a name or by single settings.

# %%
study = ek.study(STUDY)
ek.show(study.arms)

# %% [markdown]
# ## Its answer
#
# This study has eight seeds, and its contrasts were written down before its first cell ran
# (docs/preregistration.md). An arm is said to be above or below another only where the interval
# over seeds and the one over items both leave out 0, and Holm's p is below 0.05.

# %%
ek.show(study)
ek.show(study.final)
ek.show(study.figure("pass_at_8"))

# %% [markdown]
# ## What pilots said
#
# Before a study its settings must be such that *something* is learned at all. These are the
# committed pilots of GRPO from candidates for the study policy: learning rate, steps and families
# differ. 48 to 100 items a family: a change below 0.1 in one family of one seed says nothing. Means
# over the families that were trained:

# %%
pilots = ek.pilots("grpo_pilots")
measured = pilots[pilots.metric.isin(["greedy", "sampled", "pass_at_8"]) & pilots.trained]
means = measured.groupby(["pilot", "settings", "seed", "metric"])[["start", "change"]].mean()
ek.show(means.unstack().round(3))

# %% [markdown]
# In every pilot it is sampled accuracy that rises most: GRPO sharpens. The two named `mixed` differ
# in the learning rate alone: an ablation in small. At the higher rate the rare family is found more
# often and `count_material` less often. With one seed each that is a lead, and no result.

# %%
ek.show(ek.plot_pilot(pilots[pilots.pilot == "mixed-2e-4"], "pass_at_8", "pass@8, rate 2e-4"))
ek.show(ek.plot_pilot(pilots[pilots.pilot == "mixed-3e-4"], "pass_at_8", "pass@8, rate 3e-4"))

# %% [markdown]
# ## A study of your own
#
# `configs/studies/small.yaml` has two arms, GRPO and the paper's rule, of six steps each. Its cells
# run here one after the other; `ekipl compare configs/studies/small.yaml` does the same in
# processes side by side, and a cell that was interrupted goes on where it was. In `"full"` mode
# the arms have 120 steps and three seeds: half an hour or more.

# %%
ek.show(ek.study(SMALL).arms)

# %%
LONG = [
    "grpo.max_steps=120",
    "grpo.warmup_steps=5",
    "grpo.per_device_train_batch_size=64",
    "data.limit=1200",
    "tracking.checkpoint_every=40",
]
longer = {"seeds": [0, 1, 2], "overrides": LONG} if MODE == "full" else {}
small = ek.run_study(SMALL, **longer)
ek.show(small)

# %% [markdown]
# The two arms at the end, by family, as means over seeds. `all` is the whole set.

# %%
ek.show(small.figure("pass_at_8"))

# %% [markdown]
# The same as differences: the arm minus the baseline, paired by item. With one seed there is no
# interval over seeds, and so no verdict, however large a difference looks.

# %%
ek.show(small.differences)

# %% [markdown]
# ## What it costs
#
# The arms differ in what they pay: the paper's rule asks for teachers' answers on top of as many
# of the policy's own. A fair comparison names the axis on which arms are equal (here the policy's
# completions), or has an arm that spends as much in another way: `grpo_more` takes as many samples
# of its own as there are teacher actions.

# %%
ek.show(small.costs.T)

# %% [markdown]
# Records also tell how long a larger study takes on this machine. What is left of the one that
# changes one part of the paper's rule at a time, at the speed measured here:

# %%
print(ek.study(RULE).time_left(like=small))

# %% [markdown]
# ## Next
#
# - A study's file, presets and rules of its page: docs/studies.md.
# - `ekipl compare STUDY.yaml --estimate | --jobs 2 | --draw` on the command line.
# - Which rule is biased by how much, exactly, on a policy that can be enumerated: docs/bias_lab.md
#   and [04](04_one_group.ipynb).
