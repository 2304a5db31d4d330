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
# # 0 · Quickstart: train, interrupt, look, resume
#
# A tiny vision-language policy answers questions about pictures. Teachers answer too; a rule picks
# which of all these answers the policy is trained on. This notebook trains such a run from a cell,
# stops it halfway, opens one of its groups, rebuilds that group by hand, and goes on.
#
# `MODE = "quick"` takes about a minute on one CPU core and shows the machinery; its numbers say
# nothing about the method. `"full"` is the demo's own length.

# %% tags=["parameters"]
import os

MODE = os.environ.get("MODE", "quick")
NAME = "quickstart"
CONFIG = "configs/demo_ekipl.yaml"

# %%
import pandas as pd

from ekipl_lab import records, tracking
from ekipl_lab.benchmarks import load_sample, load_samples
from ekipl_lab.groups.build import build_group
from ekipl_lab.notebook import LiveTraining, show_figure, show_group, show_image, tables
from ekipl_lab.plots import figures as plots
from ekipl_lab.tracking.store import project_root
from ekipl_lab.training.config.run_config import load_config

QUICK = [
    "grpo.max_steps=12",
    "data.limit=64",
    "evaluation.sets=[{split: validation, limit: 16}]",
    "evaluation.every=0",
    "evaluation.sampled=never",
    "tracking.checkpoint_every=2",
]
overrides = [f"name={NAME}", "tracking.experiment=notebooks"]
overrides += QUICK if MODE == "quick" else []
config = load_config(project_root() / CONFIG, overrides)
print(f"{config.name}: {config.grpo_settings['max_steps']} steps of {config.data.task},")
print(f"groups of {config.grpo_settings['num_generations']}, kept by {config.ekipl.selection},")
print("teachers", ", ".join(teacher.id for teacher in config.teachers))

# %% [markdown]
# ## What is asked
#
# The built-in benchmark draws its scenes from a seed, so every sample has an exact answer, and the
# steps of a chain can be held against the scene. The policy sees the small picture.

# %%
(sample,) = load_samples(
    "mini", task=config.data.task, families=config.data.families, split="validation", limit=1
)
print(sample.question, "->", sample.answer)
show_image(load_sample(sample.id, image_size=224).images[0])

# %% [markdown]
# ## Train from a cell
#
# `start()` trains in a thread and returns at once; `watch()` shows the curves. Interrupting the
# cell (■) ends the watching, not the training; `stop()` ends the training after its current step,
# with everything saved. Here it is stopped early, as you might do when a curve looks odd.
# A run that has finished is not trained again: give another `NAME` for a new one.

# %%
training = LiveTraining(config)
training.start()
training.watch(until_step=config.grpo_settings["max_steps"] // 3)
stopped = training.stop()
print(f"{stopped.status} at step {stopped.step}, run {stopped.run_id}")

# %% [markdown]
# ## Look into a group
#
# Every candidate of every group is recorded, the dropped ones too. What each source gave in the
# last step, and the first group of the first step, one row per candidate:

# %%
folder = tracking.run_artifact(stopped.run_id, "groups")
print("steps with records:", records.list_steps(folder))
pd.DataFrame(records.sum_by_source(folder, steps=stopped.step)).round(2)

# %%
record = records.load_groups(folder, step=1)[0]
sample = load_sample(record.sample_id, image_size=config.data.image_size)
group = record.with_sample(sample)
show_group(group)

# %% [markdown]
# The reward has named parts; a part that could not be scored is `None`, never 0. A right answer can
# stand behind a wrong chain, which the reward cannot see and the checker can:

# %%
found = tables.action_table([sample], [group.candidates])
found.drop(columns="completion").set_index("source")

# %% [markdown]
# ## Rebuild it
#
# The trainer selected and weighed these candidates with `build_group`, a pure function. The same
# call on the recorded candidates gives the same group, field by field:

# %%
rebuilt = build_group(
    sample,
    record.candidates,
    record.rewards,
    rule=config.ekipl.selection,
    group_size=config.grpo_settings["num_generations"],
    baseline=config.ekipl.baseline,
    scale_rewards=config.ekipl.scale_rewards,
    **config.ekipl.params,
)
differences = record.differences(rebuilt)
print("fields that differ:", differences)
assert differences == []

# %% [markdown]
# ## Go on
#
# The same call resumes from the last checkpoint, in the same MLflow run.

# %%
training.start()
training.watch()
finished = training.result()
print(f"{finished.status} at step {finished.step}, run {finished.run_id}")
assert finished.run_id == stopped.run_id

# %% [markdown]
# ## The whole run
#
# What MLflow has of it: one run, every step once.

# %%
(run,) = [run for run in tracking.list_runs(name=config.name) if run.run_id == finished.run_id]
history = tracking.metric_history(run.run_id)
steps = [step for step, _ in history["policy/reward"]]
assert steps == list(range(1, finished.step + 1))
print(run.name, run.status, "steps", steps[0], "to", steps[-1])

rewards = {"policy": "policy/reward", "kept": "kept/reward"} | {
    teacher.id: f"teacher/{teacher.id}/reward" for teacher in config.teachers
}
curves = {name: plots.points(history[metric]) for name, metric in rewards.items()}
show_figure(plots.source_lines(curves, title="Mean reward by source", y_title="reward"))

# %%
shares = {
    source: plots.points(history[f"share/{source}/kept"])
    for source in ["policy", *(teacher.id for teacher in config.teachers)]
}
show_figure(plots.source_shares(shares, title="Who the policy learned from"))

# %%
last = {name: value for name, value in finished.metrics.items() if name.count("/") == 2}
pd.Series(last, name="last evaluation").to_frame().round(3)

# %% [markdown]
# ## Next
#
# - `make app` shows every group of this run, and samples its checkpoints live beside the teachers.
# - `make demo` trains GRPO, EKIPL and SFT from one start and compares them on one page.
# - `make mlflow` opens MLflow's own page on this run.
# - Another selection rule, teacher or weight is one line of the config: see `docs/`.
