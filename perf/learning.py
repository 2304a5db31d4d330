"""Does each option of the method learn? A toy run per option, and the zero-learning-rate control.

    python perf/learning.py [--only NAME ...] [--steps 70]

The toy: flat images, a nano policy with random weights, a reward for one exact text of 10 tokens
that the policy never writes by itself; an oracle that writes it 80 % of the time (k = 2) and one
that never does; G = 4, 2 prompts a step, learning rate 1e-2. GRPO alone cannot start. Weights over
q need a teacher with log-probabilities: the policy that the first run has made, alone. One seed.
Curves go to results/learning/curves.json, the table into docs/experiments.md, the figure into
docs/images/.
A second start runs only what is missing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from ekipl_lab.files import put_between, write_text

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "results" / "learning" / "curves.json"
DOC, FIGURE = ROOT / "docs" / "experiments.md", ROOT / "docs" / "images" / "learning.svg"
BEGIN, END = "<!-- learning: generated, do not edit -->", "<!-- learning: end -->"
TARGET = "<think> red cube</think><answer>2</answer>"

KEEP = {"params": {"keep_failures": 1}}
CHORD = {"selection": "quota", "baseline": "policy"}
#: Name -> options of `EKIPLOptions`; ``teachers`` names who is asked.
ARMS: dict[str, dict[str, Any]] = {
    "policy_ratio, top_g(keep_failures=1)": KEEP,
    "learning rate 0": {**KEEP, "learning_rate": 0.0},
    "GRPO (no teacher)": {"teachers": "none"},
    "top_g": {},
    "max_variance": {"selection": "max_variance"},
    "quota": {"selection": "quota"},
    "on_failure": {"selection": "on_failure"},
    "shaped": {**KEEP, "weighting": "shaped"},
    "mixture_ratio": {**KEEP, "weighting": "mixture_ratio"},
    "policy_ratio, scored teacher": {**KEEP, "teachers": "scored"},
    "proposal_ratio": {**KEEP, "weighting": "proposal_ratio", "teachers": "scored"},
    "proposal_ratio_sequence": {
        **KEEP, "weighting": "proposal_ratio_sequence", "teachers": "scored",
    },
    "decoupled": {**KEEP, "weighting": "decoupled", "teachers": "scored"},
    "baseline pool": {**KEEP, "baseline": "pool"},
    "baseline policy": {**KEEP, "baseline": "policy"},
    "scale_rewards none": {**KEEP, "scale_rewards": "none"},
    "sft chord_mu": {**CHORD, "sft": {"type": "chord_mu", "mu": 0.3}},
    "sft chord_phi": {**CHORD, "sft": {"type": "chord_phi", "mu": 0.3}},
    "sft on_failure": {"selection": "on_failure", "sft": {"type": "failed_groups", "mu": 1.0}},
    "teacher_share 1 to 0": {**KEEP, "schedules": {"teacher_share": [[0, 1], [50, 0]]}},
    "gate on_failure": {**KEEP, "teacher_gates": {"*": {"*": "if_unsolved"}}},
}  # fmt: skip

FIRST = "policy_ratio, top_g(keep_failures=1)"
#: Panel of the figure -> the options in it.
PANELS = {
    "Controls": [FIRST, "learning rate 0", "GRPO (no teacher)"],
    "Selection": [FIRST, "top_g", "max_variance", "quota", "on_failure"],
    "Weight of teacher tokens": [FIRST, "shaped", "mixture_ratio"],
    "Weights over q, a teacher with log-probabilities": [
        "policy_ratio, scored teacher", "proposal_ratio", "proposal_ratio_sequence", "decoupled",
    ],
    "Baseline and spread": [FIRST, "baseline pool", "baseline policy", "scale_rewards none"],
    "SFT, schedule, gate": [
        "sft chord_mu", "sft chord_phi", "sft on_failure", "teacher_share 1 to 0",
        "gate on_failure",
    ],
}  # fmt: skip


def samples() -> list[Any]:
    """Eight flat pictures."""
    from PIL import Image

    from ekipl_lab.types import Sample

    return [
        Sample(
            f"toy/{i}", "toy", "train", (Image.new("RGB", (56, 56), (30 * i, 255 - 20 * i, 40)),),
            f"Which colour is it, number {i}?", str(i), "number",
        )
        for i in range(8)
    ]  # fmt: skip


def score(sample: Any, action: Any) -> Any:
    """1 for the one text."""
    from ekipl_lab.types import RewardBreakdown

    right = action.completion == TARGET
    return RewardBreakdown({"accuracy": float(right)}, {"accuracy": 1.0}, right)


def oracle(name: str, accuracy: float, actions: int) -> Any:
    """A teacher that writes the text so often, else something else."""
    from ekipl_lab.groups.options import Teacher
    from ekipl_lab.teachers.adapters.oracle import OracleTeacher

    def write(sample: Any, *, style: str, fault: str, rng: Any) -> str:
        return TARGET if fault == "none" else "<think>?</think><answer></answer>"

    return Teacher(OracleTeacher(name, write, accuracy=accuracy, style="plain"), actions)


def scored(trained: Any) -> Any:
    """The policy that the first run has made, as a teacher that gives its log-probabilities."""
    from ekipl_lab.groups.options import Teacher
    from ekipl_lab.policies.load import as_policy
    from ekipl_lab.policies.source import PolicySource
    from ekipl_lab.teachers.adapters.local import LocalSpec, LocalTeacher

    source = PolicySource(as_policy(*trained, "trained"), id="scored")
    spec = LocalSpec(id="scored", path="the first run", temperature=1.0, seed=1)
    return Teacher(LocalTeacher(source, spec), 2)


def run(arm: dict[str, Any], steps: int, policy: Any, trained: Any) -> dict[str, Any]:
    """Train one arm; accuracy of the policy's own samples and teacher share, step by step."""
    from transformers import PrinterCallback
    from trl import GRPOConfig

    from ekipl_lab.groups.options import EKIPLOptions
    from ekipl_lab.training.trainer import EKIPLTrainer

    settings = dict(arm)
    rate, who = settings.pop("learning_rate", 1e-2), settings.pop("teachers", "oracles")
    teachers = {
        "oracles": lambda: [oracle("oracle", 0.8, 2), oracle("weak", 0.0, 1)],
        "scored": lambda: [scored(trained)],
        "none": list,
    }[who]()
    model, processor = policy
    with tempfile.TemporaryDirectory() as folder:
        args = GRPOConfig(
            output_dir=folder, per_device_train_batch_size=8, gradient_accumulation_steps=1,
            num_generations=4, max_completion_length=10, learning_rate=rate, max_steps=steps,
            lr_scheduler_type="constant", loss_type="grpo", beta=0.0, seed=3, use_cpu=True,
            bf16=False, activation_checkpointing=False, logging_steps=1, save_strategy="no",
            report_to="none", disable_tqdm=True,
        )  # fmt: skip
        trainer = EKIPLTrainer(
            model, args=args, samples=samples(), processing_class=processor, scorer=score,
            teachers=teachers, options=EKIPLOptions(**settings),
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    kept = [1.0 - entry["share/policy/kept"] for entry in log]
    return {
        "settings": arm,
        "accuracy": [entry["policy/accuracy"] for entry in log],
        "teacher_kept": [round(value, 4) for value in kept],
    }


def learned_at(curve: list[float], window: int = 5, level: float = 0.8) -> int | None:
    """The first step at which the mean of the last ``window`` reaches ``level``."""
    for end in range(window, len(curve) + 1):
        if sum(curve[end - window : end]) / window >= level:
            return end
    return None


def table(curves: dict[str, Any]) -> str:
    """Markdown: what each option came to."""
    lines = [
        "| option | own accuracy, last 5 steps | 0.8 reached at step | teacher share, last 5 |",
        "|---|---|---|---|",
    ]
    for name, found in curves.items():
        final = sum(found["accuracy"][-5:]) / 5
        kept = sum(found["teacher_kept"][-5:]) / 5
        reached = learned_at(found["accuracy"])
        lines.append(f"| {name} | {final:.2f} | {reached or 'never'} | {kept:.2f} |")
    return "\n".join(lines)


def draw(curves: dict[str, Any]) -> None:
    """One line per option, a panel per idea; needs a browser."""
    from plotly.subplots import make_subplots

    from ekipl_lab.plots.figures import Point, learning_curves, smooth, write_image

    figure = make_subplots(
        rows=3, cols=2, subplot_titles=list(PANELS), vertical_spacing=0.09, horizontal_spacing=0.07
    )
    for number, names in enumerate(PANELS.values()):
        lines = {}
        for name in (n for n in names if n in curves):
            accuracy = curves[name]["accuracy"]
            shown = name if learned_at(accuracy) else f"{name} (never)"
            points = [Point(i + 1, y) for i, y in enumerate(accuracy)]
            lines[shown] = smooth(points, 5)[4::5]
        panel, key = learning_curves(lines, title="", y_title=""), f"legend{number + 1}"
        for trace in panel.data:
            trace.legend = key
            figure.add_trace(trace, row=number // 2 + 1, col=number % 2 + 1)
        axis = "" if number == 0 else str(number + 1)
        place = {
            "x": figure.layout[f"xaxis{axis}"].domain[0], "xanchor": "left",
            "y": figure.layout[f"yaxis{axis}"].domain[1], "yanchor": "top",
        }  # fmt: skip
        figure.update_layout({key: {**place, "font": {"size": 11}}})
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1]  # above them is room for the panel's names
    figure.update_yaxes(range=[-0.03, 1.75], tickvals=ticks, gridcolor="#e8e8e8")
    figure.update_xaxes(gridcolor="#e8e8e8")
    figure.update_xaxes(title="optimiser steps", row=3)
    figure.update_yaxes(title="own accuracy", col=1)
    figure.update_layout(
        height=1300, template="plotly_white", margin={"l": 60, "r": 20, "t": 40, "b": 50},
        font={"size": 12, "family": "system-ui, sans-serif"},
    )  # fmt: skip
    write_image(figure, FIGURE, width=1000, scale=1)


def main() -> int:
    """Run what is missing, then write table and figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=list(ARMS))
    parser.add_argument("--steps", type=int, default=70)
    parser.add_argument("--draw", action="store_true", help="table and figure only")
    args = parser.parse_args()
    from ekipl_lab.policies.build import build_tiny_policy

    curves = json.loads(OUT.read_text(encoding="utf-8")) if OUT.is_file() else {}
    trained = None
    for name, arm in ARMS.items():
        needed = name in args.only and name not in curves
        first = name == next(iter(ARMS))
        later = any(
            ARMS[n].get("teachers") == "scored" and n in args.only and n not in curves for n in ARMS
        )
        if args.draw or not (needed or (first and later)):
            continue
        policy = build_tiny_policy("nano", 0)
        curves[name] = run(arm, args.steps, policy, trained)
        if first:  # into a fresh model: accelerate has wrapped the methods of the trained one
            trained = build_tiny_policy("nano", 0)
            trained[0].load_state_dict(policy[0].state_dict())
        print(f"{name}: {sum(curves[name]['accuracy'][-5:]) / 5:.2f}", flush=True)
        curves = {n: curves[n] for n in ARMS if n in curves}
        write_text(OUT, json.dumps(curves, indent=1) + "\n")
    page = DOC.read_text(encoding="utf-8")
    write_text(DOC, put_between(page, BEGIN, END, f"\n{table(curves)}\n"))
    draw(curves)
    return 0


if __name__ == "__main__":
    sys.exit(main())
