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
# # 6 · EKIPL: teachers' answers in the group
#
# Vision-EKIPL (arXiv 2506.06856) puts answers of teachers into the group beside the policy's own,
# keeps the best of them all, and trains on what was kept. This notebook trains such a run from a
# cell, looks into it while it is interrupted, goes on, and shows that the interruption left no
# trace.
#
# `MODE = "quick"` takes about a minute on one CPU core and shows the machinery; its numbers say
# nothing about the method. `"full"` is the config's own length.

# %% tags=["parameters"]
import os

MODE = os.environ.get("MODE", "quick")
NAME = "ekipl"
CONFIG = "configs/studies/counting.yaml"

# %% [markdown]
# ## What differs from GRPO
#
# Two settings: who the teachers are, and the rule by which a group is chosen from the pool of all
# answers. `top_g`, the paper's rule, keeps the G answers of the highest reward. The teacher here is
# an oracle that writes a right chain nine times out of ten, so that its quality is known; any other
# teacher ([03](03_teachers.ipynb)) stands in the same place.

# %%
import ekipl_lab as ek

QUICK = [
    "grpo.max_steps=12",
    "grpo.warmup_steps=2",
    "grpo.per_device_train_batch_size=32",
    "data.limit=240",
    "evaluation.at_end=false",
    "evaluation.every=0",
    "tracking.checkpoint_every=2",
]
changes = ["tracking.experiment=notebooks", *(QUICK if MODE == "quick" else [])]
config = ek.load_config(CONFIG, [f"name={NAME}", *changes])
ek.show(ek.settings(config))

# %% [markdown]
# ## One pool, one group
#
# Eight answers of the policy and two of the teacher to one question. Ten were asked for, eight are
# kept; the pale rows are dropped. Advantages are computed over what was kept, so a right answer of
# the teacher pushes the wrong answers of the policy down as well.

# %%
(sample,) = ek.load_samples(
    "mini", task="counting", families=["remove_material"], split="train", limit=1
)
policy = ek.load_policy(config.policy.path)
teacher = ek.build_teacher(config.teachers[0].model_dump(), [sample])
params = ek.GenerationParams(seed=1, max_new_tokens=80)
actions = policy.propose([sample], 8, params)[0] + teacher.propose([sample], 2, params)[0]
ek.show(ek.build_group(sample, actions, rule=config.ekipl.selection))

# %% [markdown]
# ## Train, and interrupt
#
# `start()` trains in a thread, `watch()` draws the curves, `stop()` ends training after its current
# step with everything saved. Stopped here after a third of the steps, as one would to look.

# %%
training = ek.LiveTraining(config).start()
training.watch(until_step=config.grpo_settings["max_steps"] // 3)
stopped = training.stop()
print(f"{stopped.status} at step {stopped.step}")

# %% [markdown]
# ## Who gave what
#
# Every candidate of every group is recorded, the dropped ones too. For each source: how many
# candidates, how many of them right, how many were kept, and how much of the learning signal
# (the sum of the advantages' sizes) its answers carry. Compare a teacher's share of the candidates,
# two in ten, with its share of what is kept.

# %%
ek.sources(stopped.run_id)

# %% [markdown]
# A group of the last step, as it was trained on:

# %%
groups = ek.load_groups(stopped.run_id)
ek.show(max(groups, key=lambda group: sum(map(abs, group.advantages))))

# %% [markdown]
# ## The group doctor
#
# A group whose kept rewards are all equal has no advantages: its answers were paid for, and nothing
# was learned. With teachers there is a cause that GRPO does not know: `starved`. The candidates
# differed, and the rule kept only right ones. It happens just where policy and teacher together
# have eight right answers among ten.

# %%
ek.show(ek.examine(stopped.run_id))

# %% [markdown]
# ## Go on
#
# The same call goes on from the last checkpoint, in the same MLflow run.

# %%
training.start()
training.watch()
finished = training.result()
print(f"{finished.status} at step {finished.step}, same run: {finished.run_id == stopped.run_id}")

# %% [markdown]
# ## Did the interruption leave a trace?
#
# Train the same config under another name, this time without stopping, and compare what MLflow has
# of the two: every metric of every step but clock times. On a CPU they are equal to the last bit.

# %%
unbroken = ek.train(ek.load_config(CONFIG, [f"name={NAME}_unbroken", *changes]))
same = ek.compare_histories(finished.run_id, unbroken.run_id)
ek.show(same)

# %%
assert same["differ"].sum() == 0
assert ek.steps(finished.run_id) == list(range(1, finished.step + 1))

# %% [markdown]
# ## The whole run, source by source
#
# First the reward of what each source gives, then who wrote what was trained on, and then how
# likely the policy finds the tokens that it is trained on. A teacher's tokens lie mostly below the
# policy's own: that distance is why weights and clipping matter for them
# ([04](04_one_group.ipynb)).

# %%
figures = ek.figures(finished.run_id)
ek.show(figures["reward"])
ek.show(figures["share_kept"])
ek.show(figures["logp"])

# %% [markdown]
# ## Beside GRPO?
#
# Nothing here says that the teacher helped. A run of twelve steps from one seed cannot, and neither
# can a long one: it takes several seeds of both arms, the same number of the policy's answers in
# each, and a look at what was solved before. That is a study: [08](08_ablations.ipynb) reads those
# that there are and runs a small one, [07](07_evaluation.ipynb) says what may be concluded.
#
# - `make app` shows every group of this run, beside the policy's answers at other checkpoints.
# - `ekipl train --config configs/studies/counting.yaml` is this run on the command line.
