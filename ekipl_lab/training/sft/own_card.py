"""What `ekipl sft` writes beside a policy: its card, and a run that goes on from it."""

from __future__ import annotations

from typing import Any

import yaml

from ekipl_lab.benchmarks.user_data import is_own, read_description
from ekipl_lab.training.sft.own import OwnSFT

#: Said where the data have no split to measure a run on.
NO_VALIDATION = (
    "The data have no validation split, so this run is measured on questions that it trains on; "
    "add `validation` to `splits` for a figure that says more."
)


#: Share of training questions solved by some samples and not by others below which GRPO has little
#: to learn from, and what is said then.
LITTLE = 0.2
LITTLE_LEFT = "That is little: in most groups every action will earn the same. "
#: What to do where the policy is mostly right on them, and where it is mostly wrong.
LEARNED = (
    "Give fewer --minutes, or keep questions for GRPO that these steps do not see "
    "(docs/own_policy.md)."
)
NOT_LEARNED = "Give more --minutes: on many of them it is never right."


#: Training questions from which on a step asks 64 of them; with 8 GRPO did not move such policies.
MANY = 1000


def little_left(reached: dict[str, Any]) -> str:
    """What to say where GRPO would have little to learn from; empty where it has enough."""
    mixed, right = reached["mixed_training"], reached["right_training"]
    if mixed is None or mixed >= LITTLE:
        return ""
    return LITTLE_LEFT + (LEARNED if right > 0.5 else NOT_LEARNED)


def next_config(own: OwnSFT, tokens: int, measured: bool, questions: int) -> str:
    """A GRPO run from the policy, as YAML; ``measured``: the data have a validation split.

    ``questions`` are those of the training split; their number decides the prompts of a step.
    """
    many = questions >= MANY
    data = own.data.model_dump(exclude_defaults=True) | {"benchmark": own.data.benchmark}
    data["limit"] = questions
    config = {
        "name": f"{own.name}_grpo",
        "policy": {"path": str(own.output)},
        "data": data,
        "grpo": {
            "max_steps": 150 if many else 60,
            "num_generations": 8,
            "per_device_train_batch_size": 512 if many else 64,
            "max_completion_length": tokens + 2,
            "learning_rate": 5e-4 if many else 3e-4,
            "lr_scheduler_type": "linear",
            "beta": 0.0,
        },
        "ekipl": {"selection": "policy_only"},
        "evaluation": {
            "sets": [{"split": "validation" if measured else own.data.split, "limit": 200}],
            "every": 0,
            "num_samples": 8,
            "ks": [1, 8],
        },
    }
    head = "# Written by `ekipl sft`: GRPO from this policy. `ekipl train --config THIS_FILE`\n"
    if not measured:
        head += f"# {NO_VALIDATION}\n"
    return head + yaml.safe_dump(config, sort_keys=False)


_CARD = """---
license: {licence}
library_name: transformers
pipeline_tag: image-text-to-text
---

# {name}

A Qwen2-VL of {parameters:,} parameters with {tokens} tokens of its own, trained by `ekipl sft` on
the split `{split}` of `{data}`: {steps} steps, {seconds} s on one thread{start}. It sees pictures
of {image_side} x {image_side} pixels and knows the words of that split, nothing else.

## Measured

{measured}, Wilson's 95 % intervals. *Most common* and *prior* see no
picture: the most frequent training answer of the form of a question, and a draw from its training
answers. *Other pictures*: this policy, shown those of another question of the family.

| questions | greedy | interval | most common | prior | other pictures | n |
|---|---|---|---|---|---|---|
{rows}

Sampled at temperature 1 ({sampled_items} questions, 8 samples each): right {pass_at_1}, pass@8
{pass_at_8}; {mixed} of the questions are solved by some samples and not by others. Of
{training_items} training questions, which `grpo.yaml` trains on, {mixed_training} are: that is what
GRPO learns from.
"""


def _figure(value: float | None) -> str:
    """A figure, or a dash where it could not be measured."""
    return "–" if value is None else str(value)


def card(own: OwnSFT, reached: dict[str, Any]) -> str:
    """The model card, from measured figures."""
    rows = [
        f"| {_cell(row['family'])} | {row['greedy']} | {row['low']} to {row['high']} | "
        f"{row['most_common']} | {row['prior']} | {_figure(row['other_pictures'])} | "
        f"{row['items']} |"
        for row in reached["rows"]
    ]
    held = "questions on pictures held out of it" if reached["held_out"] else "of validation"
    licence = "other"
    if is_own(own.data.benchmark):
        licence = read_description(own.data.benchmark).licence.lower()
    return _CARD.format(
        **{k: v for k, v in reached.items() if k not in ("rows", "split")},
        name=own.name,
        licence=licence,
        split=own.data.split,
        data=own.data.benchmark,
        start="" if own.init == "none" else f", from the weights of `{own.init}`",
        measured=f"{reached['rows'][0]['items']} questions {held}",
        rows="\n".join(rows),
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
