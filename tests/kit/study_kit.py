"""A tiny study, and records without what differs from start to start."""

import json
import os
import signal
import threading
import time

import psutil
import yaml

from ekipl_lab.policies.build import build_tiny_policy
from ekipl_lab.policies.save import save_policy
from ekipl_lab.studies.cells import parse_event

#: What takes another time at every start.
TIMES = ("wall_seconds", "cpu_seconds", "evaluation_seconds")


def write_study(folder, **changes):
    """A study of two arms from a nano policy, all in ``folder``; its file."""
    model, processor = build_tiny_policy("nano", 0)
    save_policy(model, processor, folder / "policy", dtype="float32")
    base = {
        "policy": {"path": str(folder / "policy")},
        "data": {"task": "counting", "families": ["compare"], "limit": 8},
        "teachers": [{"type": "oracle", "id": "o", "style": "short"}],
        "grpo": {"max_steps": 2, "num_generations": 2, "per_device_train_batch_size": 4,
                 "max_completion_length": 40, "learning_rate": 1e-3},
        "evaluation": {"sets": [{"split": "validation", "limit": 2}], "every": 1,
                       "at_start": False, "sampled": "never"},
        "tracking": {"checkpoint_every": 1},
        "diagnostics": {"gradient_norms_every": 0, "doctor_every": 0},
    }  # fmt: skip
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    given = {
        "name": "tiny", "base": str(folder / "base.yaml"), "seeds": [0], "tasks": {"t": {}},
        "arms": {"sft_then_paper": None, "zero_shot": None}, "baseline": "zero_shot",
        "sft": {"batch_size": 2, "success_only": False, "warmup": 0},
        "final": {"num_samples": 2, "ks": [1, 2]}, "primary": ["accuracy_greedy", "pass_at_1"],
        "records": str(folder / "results"),
    }  # fmt: skip
    given |= changes
    presets = [(arm or {}).get("preset", name) for name, arm in given["arms"].items()]
    if "sft" not in changes and not any("sft" in preset for preset in presets):
        del given["sft"]  # which no arm would read
    (folder / "study.yaml").write_text(yaml.safe_dump(given))
    return folder / "study.yaml"


def without_times(path):
    """A record without its times."""
    record = json.loads(path.read_text())
    record.pop("sha256")  # of the times, too
    for name in TIMES:
        record["cost"].pop(name)
    for point in record["curve"]:
        for name in ("wall_seconds", "cpu_seconds"):
            point.pop(name)
    record["parts"] = {kind: part["amount"] for kind, part in record["parts"].items()}
    return record


def wait_for(said, what, seconds=900.0):
    """Poll until ``said()`` is true and give that; AssertionError that names ``what``."""
    end = time.monotonic() + seconds
    while not (found := said()):
        assert time.monotonic() < end, f"{what} did not come in {seconds:.0f} s"
        time.sleep(0.05)
    return found


def wait_for_event(log, phase, start=0, step=0, process=None):
    """Wait until a cell says in its log, beyond byte ``start``, that it is in ``phase``.

    AssertionError if ``process`` ends before.
    """

    def reached(event):
        return str(event.get("phase", "")).startswith(phase) and event.get("step", 0) >= step

    def said():
        text = log.read_bytes()[start:] if log.exists() else b""
        whole = text[: text.rfind(b"\n") + 1].decode().splitlines()
        found = any(reached(event) for event in map(parse_event, whole) if event)
        assert found or process is None or process.poll() is None, f"{phase!r} never came"
        return found

    wait_for(said, f"step {step} of phase {phase!r} in {log.name}")


def process_of(cell, study):
    """The process that runs a cell of the study at that path for a launcher, or None."""
    wanted = {str(study), "--cell", cell, "--events"}
    for process in psutil.process_iter(["cmdline"]):
        if wanted <= set(process.info["cmdline"] or ()):
            return process
    return None


class KillJob(threading.Thread):
    """Sends a signal to the job of a cell, the parent of its process, after two steps."""

    def __init__(self, cell, study, log, number=signal.SIGKILL):
        super().__init__(daemon=True)
        self.cell, self.study, self.log = cell, study, log
        self.number, self.killed = number, None
        self.start()

    def run(self):
        wait_for_event(self.log, "training", step=2)
        process = process_of(self.cell, self.study)
        self.killed = process.parent().pid
        os.kill(self.killed, self.number)
