"""The GPU script: says so where there is no GPU; its checks are of known models that should fit."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from ekipl_lab.training.memory.known_models import KNOWN

SCRIPT = Path("scripts/gpu_check.py")


def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path):
    out = tmp_path / "check.json"
    run = subprocess.run(
        [sys.executable, str(SCRIPT), "--out", str(out)],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert run.returncode == 2 and "no CUDA GPU here" in run.stderr and not out.exists()


def test_checks_are_of_known_models():
    spec = importlib.util.spec_from_file_location("gpu_check", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_check"] = module
    spec.loader.exec_module(module)
    assert {check.model for check in module.CHECKS.values()} <= set(KNOWN)
    assert {"qlora_2b", "qlora_3b", "qlora_7b"} <= set(module.CHECKS)
