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
# # 5 · GRPO: the baseline
#
# Before asking whether a teacher helps, one must know what the policy learns by itself. That is
# GRPO: sample a group of answers to each question, and make those likelier that earned more than
# the group's mean. No teacher is asked.
#
# `MODE = "quick"` takes about a minute on one CPU core; its dozen steps show the machinery, and
# their numbers say nothing. `"full"` is the config's own length, some minutes. What a whole run
# comes to is read from committed records at the end.

# %% tags=["parameters"]
import os

MODE = os.environ.get("MODE", "quick")
NAME = "grpo_baseline"
CONFIG = "configs/study_grpo.yaml"

# %%
import pandas as pd

import ekipl_lab as ek

QUICK = [
    "grpo.max_steps=12",
    "grpo.warmup_steps=2",
    "grpo.per_device_train_batch_size=32",
    "data.limit=240",
    "tracking.checkpoint_every=6",
]
config = ek.load_config(
    CONFIG, [f"name={NAME}", "tracking.experiment=notebooks", *(QUICK if MODE == "quick" else [])]
)
ek.show(ek.settings(config))

# %% [markdown]
# ## Is there anything to learn?
#
# GRPO can only make likelier what the policy already does sometimes. So measure, for each question
# family, how often one sampled answer is right (pass@1), and how often at least one of eight is
# (pass@8). Where the two are far apart the policy can find the answer and does not prefer it yet:
# there GRPO has something to work with. Where both are high there is little left, and where both
# are near 0 nothing is found that could be made likelier.
#
# The bars are 95 % intervals. With this few items they are wide.

# %%
samples = ek.load_samples(
    "mini",
    task=config.data.task,
    families=config.data.families,
    split="validation",
    limit=24 if MODE == "quick" else 150,
)
policy = ek.load_policy(config.policy.path)
start = ek.evaluate(policy, samples, mode="sampled", num_samples=8, max_new_tokens=80)
ek.show(
    ek.plot_metrics(
        {"start": start}, ["pass_at_1", "pass_at_8"], title="Before training, by family"
    )
)

# %% [markdown]
# ## What one group teaches
#
# The eight answers to one question are a group. Here is one in which some are right and some wrong.
# An advantage is what an answer earned above the group's mean, in units of the group's spread:
# it is what multiplies the gradient of the answer's tokens.

# %%
mixed = ek.mixed_groups(samples, start)
group = mixed[0]
ek.show(group)

# %%
rewards = pd.Series([group.rewards[index].total for index in group.kept])
by_hand = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
pd.DataFrame(
    {
        "reward": rewards,
        "above the mean": rewards - rewards.mean(),
        "by the spread": by_hand,
        "advantage": group.advantages,
    }
).round(3)

# %% [markdown]
# A group in which all answers earn the same has no spread, and every advantage in it is 0: it was
# paid for and teaches nothing. So count groups by how many of their eight answers are right. The
# columns 0 and 8 are lost; what lies between is what GRPO lives on.

# %%
ek.right_answers(start)

# %% [markdown]
# ## Train
#
# `watch()` draws the curves while a thread trains. Interrupting the cell ends only the watching.

# %%
training = ek.LiveTraining(config).start()
training.watch()
result = training.result()
print(f"{result.status} after {result.step} steps")

# %% [markdown]
# ## What happened in training
#
# The reward of the answers by step, and the share of groups without spread, which taught nothing.
# In GRPO everything that is sampled is kept, so policy and kept are one line.

# %%
figures = ek.figures(result.run_id)
ek.show(figures["reward"])
ek.show(figures["zero_spread"])

# %% [markdown]
# The group doctor says *why* groups taught nothing, and which setting to try. Here there is no
# teacher, and so its advice for questions that the policy always fails is to ask one.

# %%
ek.show(ek.examine(result.run_id))

# %% [markdown]
# ## Is it better now?
#
# The same questions, asked again, and compared item by item: pairing takes out how hard an item
# is. Only where the interval of a difference leaves out 0 has anything been shown, and then for
# this one run: another seed may do otherwise ([07](07_evaluation.ipynb)).

# %%
trained = ek.load_policy(result.policy)
end = ek.evaluate(trained, samples, mode="sampled", num_samples=8, max_new_tokens=80)
ek.by_group(end, start)

# %%
ek.show(ek.plot_metrics({"start": start, "end": end}, ["pass_at_1"], title="pass@1"))

# %% [markdown]
# ## At its full length
#
# Twelve steps say nothing. This is what 200 steps did from the same policy, from three seeds:
# committed records in `results/ground/`, 100 items a family, 16 samples each. The interval is
# Student's t over the seeds: it says what training again would do on these items. Trained were the
# families so marked.

# %%
pilots = ek.pilots("grpo_pilots")
long = pilots[(pilots.pilot == "open") & (pilots.settings == "grpo.max_steps=200")]
ek.show(ek.over_seeds(long).query("metric in ['sampled', 'pass_at_8']"))

# %%
ek.show(ek.plot_pilot(long, "sampled", title="One sampled answer (pass@1): start and ends"))

# %% [markdown]
# Read it this way. *Sampled* (pass@1) rises in every trained family from every seed, and its
# interval leaves out 0. pass@8 moves both ways, and its intervals hold 0 there: GRPO made the
# policy prefer what it could already do. The rare family (`remove_material`), which it was not
# trained on, is found less often than before. That gap is what a teacher in the group is meant to
# close.
#
# ## Next
#
# - [06](06_ekipl.ipynb): the same with teachers' answers in the group.
# - [07](07_evaluation.ipynb): what may be concluded from such numbers.
# - `ekipl train --config configs/study_grpo.yaml` is this run on the command line.
