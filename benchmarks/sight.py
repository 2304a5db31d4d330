"""At which image size does a linear probe read the scenes? Vision tower alone, fresh pictures.

    python benchmarks/sight.py [--steps 1500] [--only counting-56 ...]

A vision tower of the demo size is trained with a linear head that names what each patch shows
(`ekipl_lab/training/sft_labels.py`), as the first stage of a warm start is, and both are measured
on 400 pictures of the validation split: the share of values read right (the worst column), and the
share of pictures in which every patch is read right. One seed, one thread. A finished size is kept
in results/sight.json; the table goes into docs/policy.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from ekipl_lab.benchmarks.mini import iterate
from ekipl_lab.files import put_between, write_text
from ekipl_lab.training.sft import WarmStart
from ekipl_lab.training.sft_config import sft_config_from
from ekipl_lab.training.sft_data import Example
from ekipl_lab.training.sft_model import encode_images

ROOT = Path(__file__).resolve().parent.parent
OUT, DOC = ROOT / "results" / "sight.json", ROOT / "docs" / "policy.md"
BEGIN, END = "<!-- sight: generated, do not edit -->", "<!-- sight: end -->"
#: Name -> task, family that is drawn, image size, patch size.
SIZES = {
    "counting-56": ("counting", "caption", 56, 14),
    "geometry-56": ("geometry", "read", 56, 14),
    "geometry-70": ("geometry", "read", 70, 14),
    "geometry-84": ("geometry", "read", 84, 14),
    "transformation-56": ("transformation", "caption", 56, 14),
}


def probe(task: str, family: str, image: int, patch: int, steps: int, items: int) -> dict[str, Any]:
    """Train tower and head, then read ``items`` pictures of the validation split."""
    with tempfile.TemporaryDirectory() as folder:
        stage = {
            "name": "see", "kind": "vision", "steps": steps, "batch_size": 64,
            "matrix_lr": 0.01, "rest_lr": 0.003, "mixture": {family: 1},
        }  # fmt: skip
        data = {
            "name": "sight", "task": task, "image_size": image, "patch_size": patch,
            "work_dir": f"{folder}/work", "output": f"{folder}/out", "stages": [stage],
        }  # fmt: skip
        run = WarmStart(sft_config_from(data, "sight"))
        begin = time.process_time()
        for _ in range(steps):
            run.train_step()
        seconds = time.process_time() - begin
    stream = iterate(task=task, split="validation", families=[family], image_size=image)
    examples = [Example(sample, "") for sample, _ in zip(stream, range(items), strict=False)]
    batch = run.encoder.encode(examples, {})
    assert batch.patches is not None and batch.patch_labels is not None
    with torch.no_grad():
        features = encode_images(
            run.model.model.visual, batch.patches.flatten(0, 1), run.encoder.grid
        )
        _, shares = run.patch_head.loss(features, batch.patch_labels)
        right = run.patch_head.right(features, batch.patch_labels)
    whole = right.view(len(features), -1).all(1)
    return {
        "task": task, "image": image, "patch": patch, "steps": steps, "pictures": len(features),
        "value": round(shares.min().item(), 4), "whole": round(whole.float().mean().item(), 4),
        "cpu_seconds": round(seconds),
    }  # fmt: skip


def table(found: dict[str, dict[str, Any]]) -> str:
    """The results as Markdown."""
    head = "| task | image | patch | worst value right | whole pictures right | CPU seconds |"
    rows = [
        f"| {r['task']} | {r['image']} px | {r['patch']} px | {r['value']:.3f} | {r['whole']:.3f} "
        f"| {r['cpu_seconds']} |"
        for r in (found[name] for name in SIZES if name in found)
    ]
    return "\n".join([head, "|---|---|---|---|---|---|", *rows])


def main() -> None:
    """Run what is missing; rewrite the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=SIZES, default=list(SIZES))
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--items", type=int, default=400)
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {}
    for name in args.only:
        if name not in found:
            found[name] = probe(*SIZES[name], args.steps, args.items)
            print(name, found[name], flush=True)
            write_text(OUT, json.dumps(found, indent=1) + "\n")
    page = DOC.read_text(encoding="utf-8")
    write_text(DOC, put_between(page, BEGIN, END, table(found)))


if __name__ == "__main__":
    main()
