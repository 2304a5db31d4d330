"""At which image size does a probe read the scenes? Fresh pictures, no family of questions.

    python perf/sight.py [--only counting-56 ...]

Linear: a vision tower of the demo size is trained with a linear head that names what each patch
shows (`ekipl_lab/training/sft/labels.py`), as the first stage of a warm start is, and both are
measured on 400 pictures of the validation split: the share of values read right (the worst column),
and the share of pictures in which every patch is read right. Reader: the demo policy, trained in
the same way and then on nothing but telling what stands in the picture; the share of labels, and of
pictures, that it tells right. One seed, one thread. A finished size is kept in results/sight.json;
the table goes into docs/policy.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from ekipl_lab.benchmarks import load_samples
from ekipl_lab.evaluation.headroom import label_accuracy
from ekipl_lab.files import put_between, write_text
from ekipl_lab.parsing import parse_completion
from ekipl_lab.policies import PolicySource, load_policy
from ekipl_lab.training.sft.config import SFTConfig, sft_config_from
from ekipl_lab.training.sft.data import Example
from ekipl_lab.training.sft.model import encode_images
from ekipl_lab.training.sft.run import run_sft
from ekipl_lab.training.sft.warm_start import WarmStart
from ekipl_lab.types import GenerationParams, Sample

ROOT = Path(__file__).resolve().parent.parent
OUT, DOC = ROOT / "results" / "sight.json", ROOT / "docs" / "policy.md"
BEGIN, END = "<!-- sight: generated, do not edit -->", "<!-- sight: end -->"
STEPS, READER_STEPS = 1500, 1000
#: Name -> task, family that is drawn, image size; patches of 14 px.
SIZES = {
    "counting-56": ("counting", "caption", 56),
    "geometry-56": ("geometry", "read", 56),
    "geometry-70": ("geometry", "read", 70),
    "geometry-84": ("geometry", "read", 84),
    "transformation-56": ("transformation", "caption", 56),
    "geometry-56-reader": ("geometry", "read", 56),
}
PATCH = 14


def config_of(task: str, family: str, image: int, folder: str, *, reader: bool) -> SFTConfig:
    """Sight alone; for a reader, telling what is seen after it."""
    rates = {"matrix_lr": 0.01, "batch_size": 64}
    stages: list[dict[str, Any]] = [
        {"name": "see", "kind": "vision", "steps": STEPS, "rest_lr": 0.003, "mixture": {family: 1}}
    ]
    if reader:
        stages.append(
            {"name": "tell", "steps": READER_STEPS, "rest_lr": 0.002, "patch_loss": 0.1,
             "mixture": {f"{family}:walk": 1}}
        )  # fmt: skip
    data = {
        "name": "sight", "task": task, "image_size": image, "patch_size": PATCH,
        "work_dir": f"{folder}/work", "output": f"{folder}/out",
        "stages": [stage | rates for stage in stages],
    }  # fmt: skip
    return sft_config_from(data, "sight")


def samples_of(task: str, family: str, image: int, items: int) -> list[Sample]:
    """The first pictures of the validation split."""
    return load_samples(
        "mini", task=task, split="validation", families=[family], image_size=image, limit=items
    )


def linear(task: str, family: str, image: int, items: int) -> tuple[float, float]:
    """Shares of values (worst column) and of whole pictures that a linear head reads right."""
    with tempfile.TemporaryDirectory() as folder:
        run = WarmStart(config_of(task, family, image, folder, reader=False))
        for _ in range(STEPS):
            run.train_step()
    examples = [Example(sample, "") for sample in samples_of(task, family, image, items)]
    batch = run.encoder.encode(examples, {})
    assert batch.patches is not None and batch.patch_labels is not None
    with torch.no_grad():
        features = encode_images(
            run.model.model.visual, batch.patches.flatten(0, 1), run.encoder.grid
        )
        _, shares = run.patch_head.loss(features, batch.patch_labels)
        right = run.patch_head.right(features, batch.patch_labels)
    whole = right.view(len(features), -1).all(1)
    return shares.min().item(), whole.float().mean().item()


def reader(task: str, family: str, image: int, items: int) -> tuple[float, float]:
    """Shares of labels and of whole pictures that the policy tells right, greedily."""
    with tempfile.TemporaryDirectory() as folder:
        policy = load_policy(run_sft(config_of(task, family, image, folder, reader=True)))
    samples = samples_of(task, family, image, items)
    params = GenerationParams(0.0, max_new_tokens=48)
    actions = [drawn[0] for drawn in PolicySource(policy).propose(samples, 1, params)]
    told = [parse_completion(action.completion).answer or "" for action in actions]
    truths = [sample.answer for sample in samples]
    whole = sum(said == truth for said, truth in zip(told, truths, strict=True)) / len(truths)
    return label_accuracy(truths, told)["label"], whole


def probe(name: str, items: int) -> dict[str, Any]:
    """Train one probe and read ``items`` pictures of the validation split."""
    task, family, image = SIZES[name]
    reads, begin = name.endswith("-reader"), time.process_time()
    value, whole = (reader if reads else linear)(task, family, image, items)
    return {
        "task": task, "probe": "reader" if reads else "linear", "image": image, "patch": PATCH,
        "steps": STEPS + READER_STEPS * reads, "pictures": items, "value": round(value, 4),
        "whole": round(whole, 4), "cpu_seconds": round(time.process_time() - begin),
    }  # fmt: skip


def table(found: dict[str, dict[str, Any]]) -> str:
    """The results as Markdown."""
    head = "| task | probe | image | patch | values right | whole pictures right | CPU seconds |"
    rows = [
        f"| {r['task']} | {r['probe']} | {r['image']} px | {r['patch']} px | {r['value']:.3f} "
        f"| {r['whole']:.3f} | {r['cpu_seconds']} |"
        for r in (found[name] for name in SIZES if name in found)
    ]
    return "\n".join([head, "|---|---|---|---|---|---|---|", *rows])


def main() -> None:
    """Run what is missing; rewrite the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=SIZES, default=list(SIZES))
    parser.add_argument("--items", type=int, default=400)
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {}
    for name in args.only:
        if name not in found:
            found[name] = probe(name, args.items)
            print(name, found[name], flush=True)
            write_text(OUT, json.dumps(found, indent=1) + "\n")
    page = DOC.read_text(encoding="utf-8")
    write_text(DOC, put_between(page, BEGIN, END, table(found)))


if __name__ == "__main__":
    main()
