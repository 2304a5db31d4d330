"""The card of a shipped policy, written from measured figures, never typed.

    python -m ekipl_lab.evaluation.model_card assets/policies/counting --task counting \\
        --config configs/sft_counting.yaml --figures results/headroom.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open

_CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
---

# {name}

A Qwen2-VL with {parameters:,} parameters and a tokenizer of its own, trained on the built-in
benchmark ({benchmark}) by

    ekipl sft --config {config}

{purpose}
It knows nothing but that benchmark's images and words. `docs/policy.md` tells how it was made and
what did not work.

Load it with `load_policy("{folder}")` of `ekipl_lab.policies`, or with
`AutoProcessor` and `AutoModelForImageTextToText` after `import ekipl_lab.policies`.

Weights: float16 safetensors, {size:.1f} MB, SHA-256 `{digest}`.

## Measured

{items} items of each kind from the split `{split}` (seed {seed}), Wilson's 95 % intervals, by
`ekipl headroom`. Sampled: one completion at temperature 1.

Perception: {perception}.

| sub-skill | greedy |
|---|---|
{skills}

| family | sampled | greedy | stratum | tokens | use |
|---|---|---|---|---|---|
{families}

Gates: {gates}.
"""


PURPOSES = {
    "start": (
        "It is the warm start of the project's reinforcement runs: it sees, and it answers some "
        "question\nfamilies and not others. The tables below say which sub-skills it has and which "
        "gates fail."
    ),
    "teacher": (
        "It is a stronger policy to be a `local` teacher: the warm start, taught the families that "
        "the\nwarm start was never shown. It was not kept in practice on the sub-skills, and the "
        "gates, which are\nmeant for warm starts, need not hold."
    ),
}


def card(
    name: str, folder: Path, config: str, figures: dict[str, Any], purpose: str = "start"
) -> str:
    """The card's text for a policy folder, a training config's path and headroom figures."""
    weights = folder / "model.safetensors"
    with safe_open(weights, framework="numpy") as tensors:
        shapes = [tensors.get_slice(key).get_shape() for key in tensors.keys()]  # noqa: SIM118
    parameters = sum(math.prod(shape) for shape in shapes)
    skills = [f"| {key} | {_span(row)} |" for key, row in figures["sub_skills"].items()]
    families = [
        f"| {key} | {_span(row['sampled'])} | {_span(row['greedy'])} | {row['stratum']} "
        f"| {row['mean_tokens']:.0f} | {row['status']} |"
        for key, row in figures["families"].items()
    ]
    verdicts = [f"{key} {'holds' if held else 'fails'}" for key, held in figures["gates"].items()]
    return _CARD.format(
        name=name,
        purpose=PURPOSES[purpose],
        parameters=parameters,
        benchmark=figures["benchmark"],
        config=config,
        folder=folder.as_posix(),
        size=weights.stat().st_size / 1e6,
        digest=hashlib.sha256(weights.read_bytes()).hexdigest(),
        items=figures["items"],
        split=figures["split"],
        seed=figures["seed"],
        perception=", ".join(f"{k} {v:.3f}" for k, v in figures["perception"].items()),
        skills="\n".join(skills),
        families="\n".join(families),
        gates=", ".join(verdicts),
    )


def _span(row: dict[str, Any]) -> str:
    return f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command: write README.md into the policy's folder."""
    parser = argparse.ArgumentParser(description="Write a policy's model card.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--config", required=True)
    parser.add_argument("--task", required=True)
    parser.add_argument("--figures", type=Path, required=True)
    parser.add_argument("--purpose", choices=PURPOSES, default="start")
    options = parser.parse_args(arguments)
    figures = json.loads(options.figures.read_text(encoding="utf-8"))[options.task]
    text = card(
        f"ekipl-tiny-{options.folder.name}",
        options.folder,
        options.config,
        figures,
        options.purpose,
    )
    (options.folder / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
