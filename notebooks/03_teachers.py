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
# # 3 · Teachers: ask them, keep what they said, what they cost, whether they help
#
# A teacher is anything that answers a question with a whole completion: a better model on this
# machine, a model behind an API, a recording. Its answers join the policy's in one group. Before a
# run is paid for: what do they say, what would it cost, and what do they know that the policy does
# not?

# %% tags=["parameters"]
import os

MODE = os.environ.get("MODE", "quick")

# %%
import tempfile

import pandas as pd
import plotly.express as px

import ekipl_lab as ek
from ekipl_lab.benchmarks.mini.chains import check_chain
from ekipl_lab.commands.teach import page
from ekipl_lab.evaluation.chains import check_chains
from ekipl_lab.evaluation.usefulness import measure, usefulness
from ekipl_lab.notebook import tables
from ekipl_lab.prompts import instructed_text
from ekipl_lab.rewards import get_scorer
from ekipl_lab.teachers.gateway.pricing import load_prices, tokens_at_most

FULL = MODE == "full"
STYLE = {"template": "plotly_white", "height": 360}
FAMILIES = ["compare", "compare_material", "remove_material", "count_three"]
params = ek.GenerationParams(seed=0)
samples = ek.load_samples(
    "mini", task="counting", families=FAMILIES, split="train", limit=200 if FULL else 48
)

# %% [markdown]
# ## Ask
#
# Four kinds. An *oracle* knows the scene and errs as often as you say: a teacher of known quality.
# A *deceiver* reasons wrongly and answers right. A *guesser* gives well-formed answers of the
# training data, a control: what it adds is not knowledge. The last is a real model, the project's
# counting teacher, whose answers are kept in a cache.

# %%
folder = tempfile.TemporaryDirectory()
local = {"type": "local", "path": "../assets/policies/counting_teacher", "temperature": 0.7}
settings = {
    "careful": {"type": "oracle", "accuracy": 0.9},
    "deceiver": {"type": "oracle", "accuracy": 0.3, "fault_mode": "wrong_chain", "style": "short"},
    "guesser": {"type": "random"},
    "stronger": {**local, "gateway": {"cache": f"{folder.name}/teachers.sqlite3"}},
}
teachers = {
    name: ek.build_teacher({"id": name, **spec}, samples) for name, spec in settings.items()
}

# %%
ek.show(samples[1])
said = [action for t in teachers.values() for action in t.propose(samples[1:2], 1, params)[0]]
ek.show(tables.action_table(samples[1:2], [said]).set_index("source"))

# %% [markdown]
# Reward and chain are two things: the reward reads the answer, the last columns hold every step
# against the scene. Over all samples:

# %%
asked = {name: t.propose(samples, 1, params) for name, t in teachers.items()}
everything = pd.concat(tables.action_table(samples, actions) for actions in asked.values())
shares = everything.groupby("source", sort=False)[["right", "sound"]].mean().reset_index()
ek.show(
    px.bar(
        shares.melt("source", var_name="share", value_name="of actions"),
        x="source",
        y="of actions",
        color="share",
        barmode="group",
        title=f"Right answers, and sound chains, on {len(samples)} training samples",
    ).update_layout(STYLE)
)

# %% [markdown]
# ## Keep: what was asked once is not asked again
#
# The model's actions lie in a store now, under a hash of weights, prompt, pixels and parameters.
# The same question is answered from there, by this process or any other, and a run can be repeated
# without the teacher: `offline` reads the store alone, and says so where something is missing.

# %%
spec = {**settings["stronger"]["gateway"], "offline": True}
fresh = ek.build_teacher({"id": "stronger", **local})
offline = ek.build_teacher({"id": "stronger", **local, "gateway": spec})
generated, first = tables.timed(lambda: fresh.propose(samples, 1, params))
repeated, second = tables.timed(lambda: offline.propose(samples, 1, params))
pd.DataFrame(
    {
        "seconds": [first, second],
        "from the cache": [0, offline.hits],
        "same text": [
            True,
            [a[0].completion for a in generated] == [a[0].completion for a in repeated],
        ],
    },
    index=["model", "cache, offline"],
).round(2)

# %%
try:
    offline.propose(samples, 1, ek.GenerationParams(max_new_tokens=7))
except Exception as error:
    print(type(error).__name__, "·", str(error).replace(folder.name, "STORE"))

# %% [markdown]
# ## Cost: before anything is sent
#
# A teacher behind an API reserves the most that a call can cost before it sends it, so that a
# budget cannot be passed. The same bound can be asked for beforehand; nothing is sent here. This
# is the prompt that such a teacher gets (the true answer is never in it):

# %%
print(instructed_text(samples[0]))

# %%
prices = load_prices()
models = {
    "openai": ["gpt-4o", "gpt-4o-mini", "gpt-4.1"],
    "anthropic": ["claude-sonnet-4-5", "claude-haiku-4-5"],
    "gemini": ["gemini-2.5-pro", "gemini-2.5-flash"],
}
prompts = [(instructed_text(sample), len(sample.images)) for sample in samples]
rows = []
for provider, names in models.items():
    for model in names:
        price = prices.get(provider, model)
        bounds = [price.nano_usd(tokens_at_most(*prompt, price), 0, 256) for prompt in prompts]
        rows.append((model, price.input, price.output, sum(bounds) / len(bounds) / 1e6))
columns = ["model", "USD per million in", "USD per million out", "USD per 1,000 prompts, at most"]
bounds = pd.DataFrame(rows, columns=columns).set_index("model").round(2)
ek.show(bounds)

# %%
ek.show(
    px.bar(
        bounds.reset_index().sort_values(columns[-1]),
        x="model",
        y=columns[-1],
        title=f"What 1,000 prompts can cost at most (256 tokens; prices of {prices.date})",
    ).update_layout(STYLE)
)

# %% [markdown]
# The bound counts every byte of a prompt as a token and the most that a picture can be. What was
# really paid stands in the ledger. `ekipl teach precompute --config run.yaml --dry-run` gives the
# bound for the prompts of a run.
#
# ## Usefulness: what do they know that the policy does not?
#
# An accurate teacher is worth nothing where the policy is right by itself. What counts is the share
# of samples that a teacher solves and *none* of the policy's own tries does.

# %%
policy = ek.load_policy("assets/policies/counting_study")
scorer = get_scorer("ekipl/auto")
mine = measure(policy, samples, scorer, num_actions=8, params=params)
theirs = {
    name: measure(teacher, samples, scorer, num_actions=1, params=params)
    for name, teacher in teachers.items()
}
records = [record for found in (mine, *theirs.values()) for record in found]
result = usefulness(mine, theirs, ks=(1, 8), chains=check_chains(records, samples, check_chain))
tables.as_frame(page.gates(result)).set_index("teacher")

# %% [markdown]
# Read the guesser first. What it solves and the policy does not is luck, so a teacher that does no
# better than the guesser adds nothing but luck, whatever its gate says. By family:

# %%
newly = pd.DataFrame(
    {
        "teacher": gain.teacher,
        "family": dict(gain.where)["family"],
        "newly solved": gain.newly.value,
        "low": gain.newly.value - gain.newly.low,
        "high": gain.newly.high - gain.newly.value,
    }
    for gain in result.gains
    if "family" in dict(gain.where)
)
ek.show(
    px.bar(
        newly,
        x="family",
        y="newly solved",
        color="teacher",
        barmode="group",
        error_y="high",
        error_y_minus="low",
        title="Solved by the teacher and by none of eight tries of the policy",
    ).update_layout(STYLE)
)

# %% [markdown]
# The last column of the table is a recommendation: `always`, `if_unsolved` (ask where the policy
# failed), `off`, or `more_samples` where the interval does not decide. Its reasons:

# %%
reasons = [gain for gain in result.gains if [name for name, _ in gain.where] == ["task"]]
why = {gain.teacher: gain.reason for gain in reasons}
ek.show(pd.Series(why).to_frame("why"))

# %% [markdown]
# And how far teachers overlap: two that solve the same samples are one teacher at twice the price.

# %%
pd.DataFrame(
    {
        "both": overlap.both,
        "only the first": overlap.only_first,
        "only the second": overlap.only_second,
        "neither": overlap.neither,
    }
    for overlap in result.overlaps
).set_axis([f"{overlap.first}, {overlap.second}" for overlap in result.overlaps])

# %%
folder.cleanup()

# %% [markdown]
# ## Next
#
# - `ekipl teach report --config run.yaml` makes all this of a run's own teachers, as a page and
#   as a table of gates that a config takes.
# - [docs/teachers.md](../docs/teachers.md), [docs/gateway.md](../docs/gateway.md): every type,
#   budgets, what happens when a server fails, terms of use.
# - [04_one_group](04_one_group.ipynb): what becomes of a teacher's action inside a group.
