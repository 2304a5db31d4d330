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
# # 2 · Rewards: score by hand, game them, audit
#
# The reward is all that training sees. This notebook scores completions by hand, breaks published
# rewards with completions that deserve nothing, audits a reward of your own, and shows the one
# thing that no reward of answers can see: a right answer behind wrong reasoning.

# %% tags=["parameters"]
import os

MODE = os.environ.get("MODE", "quick")

# %%
import tempfile
from pathlib import Path

import pandas as pd
import plotly.express as px

import ekipl_lab as ek
from ekipl_lab.notebook import tables
from ekipl_lab.rewards import get_scorer
from ekipl_lab.rewards.audit import ATTACKS, Case, audit, audit_scorer
from ekipl_lab.rewards.registry import SCORERS

FULL = MODE == "full"
STYLE = {"template": "plotly_white", "height": 380}

# %% [markdown]
# ## Score by hand
#
# One question, and the answers that a policy might give. The default reward has two parts of
# weight 1: `accuracy` by the type of the answer, and `format`: exactly one `<think>` and one
# `<answer>` block. `success` is accuracy alone, never the total.

# %%
sample = ek.load_samples("mini", task="counting", split="test", families=["count_pair"], limit=1)[0]
ek.show(sample)

# %%
right, wrong = sample.answer, "9 9"
completions = {
    "right": f"<think>so</think><answer>{right}</answer>",
    "wrong": f"<think>so</think><answer>{wrong}</answer>",
    "right, without tags": right,
    "right, another form": f"<think>so</think><answer>[{', '.join(right.split())}]</answer>",
    "right, then wrong": f"<think>so</think><answer>{right}</answer><answer>{wrong}</answer>",
    "right only in the reasoning": f"<think>{right}</think><answer>{wrong}</answer>",
    "both at once": f"<think>so</think><answer>{right} or {wrong}</answer>",
    "nothing": "",
}
tables.score_table(sample, completions).fillna({"answer read": "none"})

# %% [markdown]
# Several answers, or an answer inside the reasoning, are *no* answer: the alternative would be to
# pay for guessing twice.
#
# ## Partial credit
#
# A transformation is a list of calls. Here the accuracy may lie between 0 and 1, and `success`
# still asks for all of it.

# %%
change = ek.load_samples(
    "mini", task="transformation", split="test", families=["change_two"], limit=1
)[0]
ek.show(change)
calls = change.answer.split("), ")
answers = {
    "all calls": change.answer,
    "one of them": calls[0].rstrip(")") + ")",
    "other order": ", ".join(call.rstrip(")") + ")" for call in reversed(calls)),
    "one twice": ", ".join([calls[0].rstrip(")") + ")"] * 2),
}
texts = {name: f"<think>so</think><answer>{a}</answer>" for name, a in answers.items()}
ek.show(tables.score_table(change, texts))

# %% [markdown]
# ## Game them
#
# The auditor holds a set of completions that deserve nothing, or less than they hope for: every
# answer in one block, an equation of both, look-alike letters, a right number in the reasoning. A
# scorer that pays more than is deserved is *gamed*, and training will find that out. The published
# scores of Reason-RFT beside this project's (dark: too much was paid):

# %%
NAMES = [
    "reason_rft/train/counting",
    "reason_rft/train/geometry_numeric",
    "reason_rft/train/transformation_whole",
    "reason_rft/eval/counting",
    "reason_rft/eval/transformation",
    "ekipl/number",
    "ekipl/math",
    "ekipl/calls",
]
gamed = tables.audit_frame(audit(SCORERS if FULL else NAMES))
ek.show(
    px.imshow(
        gamed[gamed.sum(axis=1) > 0],
        color_continuous_scale="Oranges",
        zmin=0,
        zmax=1,
        aspect="auto",
        title=f"Paid too much, of {len(ATTACKS)} attacks (attacks that worked on some scorer)",
    ).update_layout(template="plotly_white", height=640, coloraxis_colorbar_title="too much")
)

# %% [markdown]
# What the most successful attack looks like, and what it earns from both:

# %%
name = gamed.sum(axis=1).idxmax()
case = Case("4", "5", tuple("0123456789"))
text = ATTACKS[name](case)
earned = {scorer: SCORERS[scorer](text, case.right) for scorer in (NAMES[0], NAMES[5])}
ek.show(pd.Series({"completion": text, **earned}).to_frame(name))

# %% [markdown]
# ## Audit a reward of your own
#
# A reward of your own is a function of a completion and a sample, in a file. This one looks
# harmless: the right answer must occur in the text.

# %%
REWARD = """
def occurs(completion, sample):
    return float(sample.answer in completion)
"""
folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "rewards.py"
path.write_text(REWARD, encoding="utf-8")
own = get_scorer(f"python:{path}:occurs")

case = Case(right, wrong, (wrong, right, "1 1", "2 2"))
audited = {
    "occurs in the text": audit_scorer("occurs", own, sample, case),
    "ekipl/auto": audit_scorer("ekipl/auto", get_scorer("ekipl/auto"), sample, case),
}
found = pd.DataFrame(
    {
        "attacks": len(rows),
        "gamed by": sum(row.gamed for row in rows),
        "such as": ", ".join([row.attack for row in rows if row.gamed][:4]) or "nothing tried",
    }
    for rows in audited.values()
).set_axis(audited)
ek.show(found)

# %% [markdown]
# From the shell: `python -m ekipl_lab.rewards.audit python:rewards.py:occurs --right 3 --wrong 5`.
#
# ## What gaming does to a group
#
# Advantages are relative: what is paid too much pushes everything else down. Eight completions of
# one prompt, one right, two that list answers, five wrong; under the loose reward the cheats are
# reinforced exactly as the right answer is.

# %%
listed = f"<think>so</think><answer>{right} or {wrong}</answer>"
texts = [completions["right"], listed, listed] + [completions["wrong"]] * 5
actions = [ek.Action(text, "policy", "by hand") for text in texts]
groups = {
    label: ek.build_group(sample, actions, [judge(sample, action) for action in actions])
    for label, judge in {"occurs in the text": own, "ekipl/auto": get_scorer("ekipl/auto")}.items()
}
kinds = ["right", "lists both", "lists both"] + ["wrong"] * 5
pushed = pd.DataFrame(
    {"action": f"{i + 1} {kind}", "reward": label, "advantage": group.advantages[i]}
    for label, group in groups.items()
    for i, kind in enumerate(kinds)
)
ek.show(
    px.bar(
        pushed,
        x="action",
        y="advantage",
        color="reward",
        barmode="group",
        title="One group under two rewards",
    ).update_layout(STYLE)
)

# %% [markdown]
# ## What no reward of answers sees
#
# Three teachers write whole chains: one careful, one that errs in its answers, one that reasons
# wrongly and still answers right. The reward cannot tell the last from the first; the checker can.

# %%
samples = ek.load_samples("mini", task="counting", split="test", limit=200 if FULL else 60)
sources = {
    "careful": {"accuracy": 1.0},
    "errs": {"accuracy": 0.5, "fault_mode": "wrong_answer"},
    "reasons wrongly": {"accuracy": 0.5, "fault_mode": "wrong_chain"},
}
said = pd.concat(
    tables.action_table(
        samples,
        ek.build_teacher({"type": "oracle", **spec}).propose(
            samples, 1, ek.GenerationParams(seed=0)
        ),
    ).assign(source=name)
    for name, spec in sources.items()
)
shares = said.groupby("source", sort=False)[["right", "sound"]].mean().reset_index()
ek.show(
    px.bar(
        shares.melt("source", var_name="share", value_name="of actions"),
        x="source",
        y="of actions",
        color="share",
        barmode="group",
        title=f"Right answers and sound chains ({len(samples)} samples)",
    ).update_layout(STYLE)
)

# %% [markdown]
# That is why evaluations report `right_but_unsound`, why `ekipl teach report` flags teachers whose
# right answers rest on wrong chains, and why `reward.extra` takes criteria of your own.
#
# ## Next
#
# - [docs/scoring.md](../docs/scoring.md): every answer type and every metric.
# - [03_teachers](03_teachers.ipynb): who gives the other actions of a group.
