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
# # 10 · Your own task: data, tiny policy, reward, teacher, run, compare
#
# Everything so far was the built-in benchmark. Here nothing is: pictures and questions lie in a
# folder, as somebody else might have left them; a tiny policy is made that sees them; a reward and
# a teacher are a few lines each; and a run with that teacher is compared with where it began.
#
# `MODE = "quick"` goes through all of it in under three minutes of one CPU core, with a policy that
# has hardly learned anything. `"full"` gives it 10,000 questions and 15 minutes.

# %% tags=["parameters"]
import os

MODE = os.environ.get("MODE", "quick")
NAME = "your_own_task"

# %%
import contextlib
import io
import subprocess
import sys

from transformers.utils import logging

import ekipl_lab as ek
from ekipl_lab.tracking.store import project_root
from ekipl_lab.training.sft.own import OwnData, OwnSFT
from ekipl_lab.training.sft.own_run import run_own

logging.disable_progress_bar()
ROOT = project_root()
FOLDER = ROOT / "mlruns" / "work" / f"{NAME}_{MODE}"
QUESTIONS = 400 if MODE == "quick" else 10_000

# %% [markdown]
# ## Data
#
# A folder with PNG pictures, a CSV table per split, and one YAML file that says which column is
# what (`docs/data.md`). Here a script draws them: walls with coloured stickers. Put your own folder
# in its place.

# %%
script = [sys.executable, "perf/stickers.py", str(FOLDER / "data"), "--questions", str(QUESTIONS)]
subprocess.run(script, cwd=ROOT, check=True, capture_output=True)
DATA = FOLDER / "data" / "stickers.yaml"
print(DATA.read_text())
print("".join((FOLDER / "data" / "train.csv").open().readlines()[:4]))

# %%
samples = ek.load_samples(str(DATA), task="wall", split="validation", limit=100)
for sample in samples[:3]:
    ek.show(sample)

# %% [markdown]
# ## A tiny policy that sees it
#
# The words of the training split become tokens, the size of the pictures decides the patches, and
# questions with answers are learned (`docs/own_policy.md`); `ekipl sft --data ... --out ...` does
# the same from a terminal. What it reached stands beside what needs no picture: the most common
# answer to a question, a draw from its answers, and this policy before another picture.

# %%
settings = OwnSFT(
    name=NAME,
    data=OwnData(benchmark=str(DATA)),
    output=FOLDER / "policy",
    validation=100 if MODE == "quick" else 500,
    **({"steps": 30, "warmup": 10} if MODE == "quick" else {"minutes": 15}),
)
with contextlib.redirect_stderr(io.StringIO()):  # a progress bar
    reached = run_own(settings)

# %%
import pandas as pd

ek.show(pd.DataFrame(reached["rows"]))

# %% [markdown]
# ## A reward of your own
#
# One function in a file: from a completion and a sample to a number from 0 to 1. This one gives
# half for a number beside the true one, so that "3" for "4" is not as wrong as "scarlet".

# %%
(FOLDER / "reward.py").write_text('''
from ekipl_lab.parsing import parse_completion


def near(completion, sample):
    """1 for the true answer, half for a number beside it."""
    answer = (parse_completion(completion).answer or "").strip()
    if answer == sample.answer:
        return 1.0
    numbers = [text for text in (answer, sample.answer) if text.isdecimal() and len(text) < 4]
    return 0.5 if len(numbers) == 2 and abs(int(numbers[0]) - int(numbers[1])) == 1 else 0.0
''')
SCORER = f"python:{FOLDER / 'reward.py'}:near"
count = next(sample for sample in samples if sample.family == "tally")
answers = (count.answer, str(int(count.answer) + 1), "scarlet")
texts = {answer: f"<think> look</think><answer>{answer}</answer>" for answer in answers}
earned = {answer: ek.score(count, text, SCORER).components for answer, text in texts.items()}
pd.DataFrame.from_dict(earned, orient="index")

# %% [markdown]
# ## A teacher of your own
#
# One class in a file, with `propose` (`docs/extend/teacher.md`). This is a colleague who looked at
# the pictures before, and is right four times in five. Yours may ask a server, or a program.

# %%
(FOLDER / "colleague.py").write_text('''
import random

from ekipl_lab.types import Action


class Colleague:
    """Right in a share ``care`` of its answers; else says what comes to mind."""

    def __init__(self, care=0.8, seed=0):
        self.care, self.seed = care, seed

    def propose(self, samples, num_actions, params):
        return [[self.say(one, params.seed, k) for k in range(num_actions)] for one in samples]

    def say(self, sample, draw, number):
        rng = random.Random(f"{self.seed}/{sample.id}/{draw}/{number}")
        said = sample.answer if rng.random() < self.care else rng.choice(["2", "lime", "disc"])
        return Action(f"<think> look</think><answer>{said}</answer>", "", model_id="colleague")
''')
TEACHER = {"type": "python", "id": "colleague", "class": f"{FOLDER / 'colleague.py'}:Colleague"}
teacher = ek.build_teacher(TEACHER, samples)
start = ek.load_policy(FOLDER / "policy")
params = ek.GenerationParams(seed=0, max_new_tokens=16)
asked = next(sample for sample in samples if sample.family == "numeral")
actions = start.propose([asked], 4, params)[0] + teacher.propose([asked], 2, params)[0]
ek.show(ek.build_group(asked, actions, scorer=SCORER))

# %% [markdown]
# ## A run
#
# `ekipl sft` wrote a GRPO config beside the policy. With the teacher and the reward it is a run of
# Vision-EKIPL; without `teachers` it would be GRPO. `LiveTraining` draws its curves.

# %%
overrides = [
    f"name={NAME}",
    f"policy.path={FOLDER / 'policy'}",
    f"teachers=[{{type: python, id: colleague, class: '{TEACHER['class']}'}}]",
    "ekipl.selection=top_g",
    f"reward.scorer='{SCORER}'",
    "evaluation.sets=[{split: validation, limit: 40}]",
    "evaluation.at_start=false",
    "evaluation.sampled=never",
    "diagnostics.gradient_norms_every=0",
    "tracking.experiment=notebooks",
    *(
        ["grpo.max_steps=6", "grpo.per_device_train_batch_size=16", "data.limit=64"]
        if MODE == "quick"
        else []
    ),
]
config = ek.load_config(FOLDER / "policy" / "grpo.yaml", overrides)
training = ek.LiveTraining(config)
training.start()
training.watch()
result = training.result()
print(f"{result.status} at step {result.step}, run {result.run_id}")

# %% [markdown]
# ## Compare
#
# The policy before and after, on the same questions of the validation split, paired. An interval
# that holds 0 says: nothing that can be told from chance. One seed says nothing about a method.

# %%
trained = ek.load_policy(f"mlflow:{result.run_id}")
before, after = (ek.evaluate(one, samples, max_new_tokens=16) for one in (start, trained))
difference = ek.compare(after, before)
print(f"{difference.value_b:.3f} -> {difference.value_a:.3f}, {difference.difference:+.3f}")
print(f"95 % interval {difference.low:+.3f} to {difference.high:+.3f}")
table = pd.DataFrame(
    {
        name: one.by("family").query("metric == 'accuracy_greedy'").set_index("family")["value"]
        for name, one in (("before", before), ("after", after))
    }
)
ek.show(table.round(3))

# %%
from ekipl_lab import tracking
from ekipl_lab.plots import figures as plots

history = tracking.metric_history(result.run_id)
rewards = {"policy": "policy/reward", "colleague": "teacher/colleague/reward"}
curves = {name: plots.points(history[metric]) for name, metric in rewards.items()}
ek.show(plots.source_lines(curves, title="Mean reward by source", y_title="reward"))
