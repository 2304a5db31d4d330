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
# # 9 · A real model on one small GPU
#
# The same trainer takes Qwen2-VL and Qwen2.5-VL. This notebook plans such a run, asks a teacher
# behind an API, and trains the real architecture at a small width, all on a CPU and without a
# download. **It does not train the real model: that needs a GPU, and no config of this page has
# been run on one yet** (docs/gpu.md says what was tested and how). Where the CPU's way ends, the
# commands for the GPU are given.

# %% tags=["parameters"]
import os

MODE = os.environ.get("MODE", "quick")
NAME = "real_model"
CONFIG = "configs/qwen2_5_vl_3b_16gb.yaml"
CONFIG_T4 = "configs/qwen2_vl_2b_t4_16gb.yaml"

# %% [markdown]
# ## Will it fit?
#
# QLoRA keeps the weights in 4 bits and trains small adapters beside them. Before anything is
# loaded, the memory of a run is predicted part by part: the model is built without weights, and
# what each layer keeps is counted. The formulas were checked against the bytes that autograd keeps
# on a CPU; the whole prediction against no GPU yet.

# %%
import pandas as pd

import ekipl_lab as ek

real = {
    "Qwen2.5-VL-3B, 16 GB": ek.load_config(CONFIG),
    "Qwen2-VL-2B, T4": ek.load_config(CONFIG_T4),
    "Qwen2.5-VL-7B, 24 GB": ek.load_config("configs/qwen2_5_vl_7b_24gb.yaml"),
}
needs = {name: ek.memory(config) for name, config in real.items()}
ek.show(ek.plot_memory(needs))

# %%
ek.show(ek.memory_table(needs))

# %% [markdown]
# ## Other ways to train the 3B model on this card
#
# QLoRA with longer answers and more rows at once, adapters without 4 bits, and all weights. The
# mark is what the card has. Three of the four fit, with less and less room; the fourth is refused
# before it starts. (The published data set is not on this machine, so the built-in benchmark stands
# in for it in the check: pictures of 448 pixels, the long prompt that a stock model needs.)

# %%
variants = {
    "QLoRA, as the config says": [],
    "QLoRA, 8 rows of 2,048 tokens": [
        "grpo.per_device_train_batch_size=8",
        "grpo.gradient_accumulation_steps=4",
        "grpo.max_completion_length=2048",
    ],
    "LoRA, weights in 16 bits": ["policy.quantize=none"],
    "all weights trained": ["policy.quantize=none", "policy.adapter=null", "grpo.beta=0.0"],
}
others = {name: ek.load_config(CONFIG, changes) for name, changes in variants.items()}
ek.show(
    ek.plot_memory(
        {name: ek.memory(config) for name, config in others.items()}, title="The 3B model"
    )
)

# %%
DATA = [
    "data={benchmark: mini, task: counting, instructed: true, image_size: 448, limit: 64}",
    "teachers=[{type: oracle, id: chains}]",
    "evaluation.sets=[{split: validation, limit: 16}]",
]
refused = {
    name: ek.refusal(ek.load_config(CONFIG, [*changes, *DATA])) or "fits"
    for name, changes in variants.items()
}
ek.show(pd.DataFrame({"dry run": refused}))

# %% [markdown]
# ## A T4 has no bfloat16
#
# The T4 of free notebooks computes in float16 and float32 only. Its config therefore has float16
# weights, adapters in float32, and a gradient scaler. The config of the 3B model says bfloat16, and
# on a T4 it is refused in a sentence; what differs between the two:

# %%
print(ek.refusal(ek.load_config(CONFIG, ["hardware=t4"])))

# %%
both = {"16 GB": ek.load_config(CONFIG), "T4": ek.load_config(CONFIG_T4)}
pd.DataFrame(
    {
        name: {
            "policy.path": config.policy.path,
            "policy.dtype": config.policy.dtype,
            "policy.attn_implementation": config.policy.attn_implementation,
            "policy.max_pixels": config.policy.max_pixels,
            "grpo.fp16": config.grpo_settings.get("fp16"),
            "grpo.max_grad_norm": config.grpo_settings.get("max_grad_norm"),
        }
        for name, config in both.items()
    }
).fillna("default")

# %% [markdown]
# ## The dry run
#
# `ekipl train --dry-run --config FILE` prints the settings and then this plan. It looks at the real
# prompts; here again the built-in benchmark stands in for the published data.

# %%
print(ek.dry_run(ek.load_config(CONFIG_T4, DATA)))

# %% [markdown]
# ## A teacher behind an API
#
# A paid teacher is asked through a gateway: a cache that buys each answer once, a budget, retries,
# a ledger. Here a server on 127.0.0.1 stands in for the provider. It speaks the same protocol and
# answers with reference chains, so that everything on this side of the wire is real: the picture
# in the request, the count of tokens, the price, the cache.

# %%
import json
from pathlib import Path

from ekipl_lab.tracking import store_folder

samples = ek.load_samples("mini", task="counting", families=["compare"], split="train", limit=8)
oracle = ek.build_teacher({"type": "oracle", "accuracy": 0.9, "style": "walk"}, samples)
server = ek.LoopbackTeacher(samples, oracle)
server.start()
cache = Path(store_folder()) / "teachers.sqlite3"
spec = {
    "type": "openai",
    "id": "api",
    "model": "stand-in",
    "base_url": server.url,
    "actions": 2,
    "gateway": {
        "cache": str(cache),
        "budget": {"usd": 0.10},
        "price": {"input": 2.5, "output": 10.0, "image_tokens": 85},
    },
}
teacher = ek.build_teacher(spec, samples)
params = ek.GenerationParams(seed=0, max_new_tokens=256)
first = teacher.propose(samples, 2, params)
bought = ek.spending(teacher)
again = teacher.propose(samples, 2, params)
pd.DataFrame({"first time": bought, "asked again": ek.spending(teacher)})

# %% [markdown]
# The columns are totals so far: asked again, nothing was sent and nothing paid, and the answers are
# the same. One of the questions with what the teacher said, beside the reward it would earn:

# %%
ek.show(samples[0])
ek.show(first[0][0])
reward = ek.score(samples[0], first[0][0])
pd.DataFrame({"reward": {**reward.components, "total": reward.total}})

# %%
assert [a.completion for a in first[0]] == [a.completion for a in again[0]]
sent = len(server.requests)
print(f"{sent} requests reached the server, for {sum(map(len, first + again))} answers used")

# %% [markdown]
# For a real provider `base_url` goes (or names your vLLM server), the key lies in an environment
# variable, and the price is looked up: docs/gateway.md. Before a long run ask it about a few
# prompts: `ekipl teach preview --config FILE`.
#
# ## The real architecture, 32 wide
#
# What a CPU can show: the config of the real model with every part that is not size. Qwen2.5-VL
# with its window attention, rotary positions and image processor, 2 layers of width 32, fresh
# weights. Adapters, activation checkpointing, KL to the policy without its adapter, the teacher
# behind the API: all as on the GPU. What a CPU lacks, 4 bits, is taken out. It learns nothing in
# two steps; that it runs, saves and loads is the point.

# %%
small = ek.save_small_qwen(Path(store_folder()) / "small_qwen")
on_cpu = [
    f"name={NAME}",
    f"policy.path={small}",
    "policy.dtype=float32",
    "policy.quantize=none",
    "data={benchmark: mini, task: counting, families: [compare], limit: 8}",
    "grpo.max_steps=2" if MODE == "quick" else "grpo.max_steps=10",
    "grpo.num_generations=4",
    "grpo.per_device_train_batch_size=4",
    "grpo.gradient_accumulation_steps=2",
    "grpo.max_completion_length=64",
    "evaluation={sets: [], at_start: false, every: 0, at_end: false}",
    "tracking={experiment: notebooks, checkpoint_every: 2}",
    "hardware={}",
    f"teachers={json.dumps([spec])}",
]
config = ek.load_config(CONFIG, on_cpu)
training = ek.LiveTraining(config).start()
training.watch()
result = training.result()
print(f"{result.status} after {result.step} steps")

# %%
ek.sources(result.run_id)

# %% [markdown]
# What a run of adapters leaves is the adapter alone, a small file that names its base.
# `ekipl merge` makes an ordinary checkpoint of the two; loading does it in memory.

# %%
files = sorted(path for path in result.policy.iterdir() if path.is_file())
pd.DataFrame({"kB": {path.name: round(path.stat().st_size / 1000, 1) for path in files}})

# %%
trained = ek.load_policy(result.policy)
ek.evaluate(trained, samples, max_new_tokens=32).summary.query("metric == 'accuracy_greedy'")

# %%
server.close()

# %% [markdown]
# ## On the GPU
#
# From here on it takes a GPU, the data (docs/data.md) and a download of the model:
#
# ```
# pip install '.[gpu,teachers]' -c constraints.txt
# python scripts/gpu_check.py --only memory_qlora_3b --cap-gib 15.5  # does one step fit here?
# ekipl train --dry-run --config configs/qwen2_5_vl_3b_16gb.yaml
# ekipl train --probe --config configs/qwen2_5_vl_3b_16gb.yaml  # one step of the worst case
# ekipl train --config configs/qwen2_5_vl_3b_16gb.yaml
# ```
#
# On a T4 take `configs/qwen2_vl_2b_t4_16gb.yaml`. Expect the first day to show something that a CPU
# could not: 4 bits, the gradient scaler and memory in practice are untested here.
