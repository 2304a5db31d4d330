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
# # 1 · Benchmarks: what is asked, how hard it is, and what a blind model would get
#
# Before a policy is trained, four questions about the data: What does a sample look like? Where is
# it hard? Which questions can *this* policy learn from at all? And how much can be answered
# without looking at the picture?
#
# `MODE=quick` takes under a minute on one CPU core; `MODE=full` uses more samples.

# %% tags=["parameters"]
import os

MODE = os.environ.get("MODE", "quick")

# %%
import pandas as pd
import plotly.express as px

import ekipl_lab as ek
from ekipl_lab.benchmarks.mini import MINI_TASKS
from ekipl_lab.benchmarks.mini.blind import BLIND_LIMIT, draw, shuffle_images, without_images
from ekipl_lab.benchmarks.mini.chains import check_chain, write_chain
from ekipl_lab.benchmarks.mini.solvers import SOLVERS
from ekipl_lab.benchmarks.preview import contact_sheet
from ekipl_lab.evaluation.slices import strata_of
from ekipl_lab.notebook import tables

FULL = MODE == "full"
POLICY = "assets/policies/counting_study"
FAMILIES = ["compare", "compare_material", "remove_material", "count_three"]
STYLE = {"template": "plotly_white", "height": 360}

# %% [markdown]
# ## What a sample looks like
#
# The built-in benchmark has three tasks. Its scenes are drawn from a seed, so every question has an
# exact answer and every sample can be made again from its id. One sample of four families of each
# task:

# %%
shown = [
    sample
    for task in MINI_TASKS
    for sample in ek.load_samples("mini", task=task, split="test", limit=4, image_size=168)
]
ek.show(contact_sheet(shown, columns=4))

# %% [markdown]
# A policy gets less than you just saw: at 56 pixels the sixteen cells of a counting scene are its
# sixteen image tokens.

# %%
sample = ek.load_samples("mini", task="counting", split="test", families=["compare"], limit=1)[0]
ek.show(sample)

# %% [markdown]
# A right answer has a right way to it. The benchmark writes reference chains in five styles, and
# checks the steps of *any* completion against the scene; a training reward does not see that.

# %%
import random

chain = write_chain(sample, style="short", rng=random.Random(0))
report = check_chain(sample, chain)
pd.DataFrame({"step": report.true_steps + report.false_steps}).assign(
    holds=lambda table: [True] * len(report.true_steps) + [False] * len(report.false_steps)
)

# %% [markdown]
# ## Families and splits
#
# A *family* is a kind of question. Studies use those with status `study` or `ground`; guessable
# ones and sub-skills are kept apart. `test_ood` holds what no other split can have: other
# backgrounds, more things, held-out pairs.

# %%
families = pd.DataFrame(
    {"task": task, "family": name, "status": family.status, "needs the picture": family.images}
    for task, mini in MINI_TASKS.items()
    for name, family in mini.families.items()
)
ek.show(
    families.pivot_table(index="task", columns="status", values="family", aggfunc=", ".join).fillna(
        ""
    )
)

# %%
unseen = ek.load_samples("mini", task="counting", split="test_ood", limit=4)
ek.show(contact_sheet(unseen, columns=4))

# %% [markdown]
# ## How hard it is, for one policy
#
# Difficulty is a number that the benchmark gives (things, changes, steps). Whether it is felt is up
# to the policy: here `counting_study`, the start of the project's studies, greedy on validation.

# %%
policy = ek.load_policy(POLICY)
samples = ek.load_samples(
    "mini", task="counting", families=FAMILIES, split="validation", limit=240 if FULL else 60
)
greedy = ek.evaluate(policy, samples)
by_level = greedy.by("family", "difficulty").query("metric == 'accuracy_greedy'")
ek.show(
    px.bar(
        by_level,
        x="difficulty",
        y="value",
        color="family",
        barmode="group",
        error_y=by_level["high"] - by_level["value"],
        error_y_minus=by_level["value"] - by_level["low"],
        title=f"Greedy accuracy by difficulty ({len(samples)} items, Wilson's 95 % intervals)",
        labels={"value": "accuracy"},
    ).update_layout(STYLE)
)

# %% [markdown]
# ## Strata: what can be learned from
#
# Reinforcement learning needs *some* success to reinforce. So families are told apart by how often
# the start succeeds when it **samples**: never, seldom, sometimes, mostly. Where greedy accuracy
# is far below pass@8, the right answer is already in the policy and only has to be made likely.
# Where pass@8 is zero, the policy alone finds nothing: there a teacher can help, or nothing can.

# %%
sampled = ek.evaluate(policy, samples, mode="sampled", num_samples=8)
wanted = {"pass_at_1": "one try", "pass_at_8": "eight tries"}
tries = sampled.by("family").query("metric in @wanted").replace({"metric": wanted})
stratum = {r.family: strata_of(sampled.records)[r.sample_id] for r in sampled.records}
ek.show(
    px.bar(
        tries.assign(family=tries["family"] + "<br>" + tries["family"].map(stratum)),
        x="family",
        y="value",
        color="metric",
        barmode="group",
        error_y=tries["high"] - tries["value"],
        error_y_minus=tries["value"] - tries["low"],
        title="One try against eight: the gap is what sampling can find",
        labels={"value": "solved", "metric": "", "family": "family and stratum of this sample"},
    ).update_layout(STYLE)
)

# %% [markdown]
# Sixty items say little about a rare event. The committed table has 64 completions an item
# ([docs/strata.md](../docs/strata.md)); a study of this project chooses its families by it.

# %%
strata = tables.committed("results/ground/strata.json")["counting_study"]["families"]
pd.DataFrame(strata).T[["greedy", "sampled", "pass_at_8", "none_of_64", "stratum"]]

# %% [markdown]
# ## Blind solvers: what can be had without seeing
#
# If the most frequent answer is right half the time, a rising reward proves nothing. Seven solvers
# that do not understand pictures are fitted on training samples of a family and asked about its
# test samples: from the most frequent answer to the nearest training picture.

# %%
fit, asked = (800, 400) if FULL else (300, 150)
solved = [
    {"family": family, "solver": name, "accuracy": float(solve(train, test).mean())}
    for family in ("count_pair", "count_one")
    for train in [draw("counting", family, "train", fit)]
    for test in [draw("counting", family, "test", asked)]
    for name, solve in SOLVERS.items()
]
pd.DataFrame(solved).pivot(index="solver", columns="family", values="accuracy").round(3)

# %% [markdown]
# `count_one` asks for one number and is guessable, so no study uses it. The committed record has
# every family with 3,000 training samples; the line is the limit that a family for studies must
# not pass.

# %%
blind = pd.DataFrame(tables.committed("results/blind.json")["rows"]).query("split == 'test'")
ek.show(
    px.bar(
        blind,
        x="family",
        y="best_score",
        color="status",
        hover_data=["best", "task"],
        title="The best blind solver of every family (test)",
        labels={"best_score": "accuracy"},
    )
    .add_hline(y=BLIND_LIMIT, line_dash="dot")
    .update_layout(STYLE)
    .update_xaxes(categoryorder="total descending", tickangle=-50)
)

# %% [markdown]
# ## The same control for a policy
#
# A trained policy can be blind too. Give it another sample's picture, or none: what is left of its
# accuracy was never seen. (A vision-language model that is right without pictures has learned the
# questions.)

# %%
controls = {
    "its own picture": samples,
    "another sample's": shuffle_images(samples),
    "none": without_images(samples),
}
seen = pd.concat(
    ek.evaluate(policy, given).summary.query("metric == 'accuracy_greedy'").assign(picture=name)
    for name, given in controls.items()
)
ek.show(
    px.bar(
        seen,
        x="picture",
        y="value",
        error_y=seen["high"] - seen["value"],
        error_y_minus=seen["value"] - seen["low"],
        title="The policy sees: without its picture it falls to chance",
        labels={"value": "accuracy"},
    ).update_layout(STYLE)
)

# %% [markdown]
# ## Next
#
# - `ekipl data preview` makes such sheets of any data, yours too; `ekipl data check` reads it.
# - [docs/benchmark.md](../docs/benchmark.md): every family, the splits, the limits of the checker.
# - [02_rewards](02_rewards.ipynb): what an answer earns, and how a reward is cheated.
