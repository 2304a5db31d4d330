"""The GPU script: what of it a CPU can run is run; failures, limits and lacks are said."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
from paths import ROOT

from perf.gpu.engines import command
from perf.gpu.parts import PARTS, Place, Skipped

SCRIPT = ROOT / "scripts" / "gpu_check.py"
#: What a CPU runs in --tiny; the others need CUDA or a package that is not there.
ON_A_CPU = {
    "generation", "float32", "bf16", "probe", "memory_lora_2b", "speed_256", "speed_1024",
    "demo", "contract",
}  # fmt: skip


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("gpu_check", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path):
    out = tmp_path / "check.json"
    run = subprocess.run(
        [sys.executable, str(SCRIPT), "--out", str(out)],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert run.returncode == 2 and "no CUDA GPU here" in run.stderr and not out.exists()


def test_every_part_of_the_page_is_there_and_fits_into_ten_minutes_with_none_hanging():
    wanted = {
        "memory_qlora_3b", "memory_lora_2b", "bf16", "fp16", "float32", "generation", "probe",
        "fsdp2", "zero3", "vllm_colocate", "vllm_server", "liger", "flash_attention",
        "adamw_8bit", "speed_256", "speed_1024", "demo", "contract",
    }  # fmt: skip
    assert set(PARTS) == wanted and wanted > ON_A_CPU
    assert all(part.about and 0 < part.seconds <= 180 for part in PARTS.values())


def test_a_part_that_cannot_be_run_says_why(tmp_path):
    for name in sorted(set(PARTS) - ON_A_CPU):
        with pytest.raises(Skipped, match="needs a CUDA GPU"):
            PARTS[name].run(Place(tmp_path, "cpu", True))
    with pytest.raises(Skipped, match="needs no_such_package, not installed"):
        Place(tmp_path, "cuda", True).needs("no_such_package")


def test_one_failing_part_hides_no_other_and_the_exit_code_says_so(
    script, tmp_path, monkeypatch, capsys
):
    given = {
        "bf16": {"status": "passed", "seconds": 1.0, "moved": 0.25},
        "fp16": {"status": "failed", "seconds": 2.0, "error": "ended with 1", "last_lines": ["x"]},
        "liger": {"status": "skipped", "seconds": 3.0, "skipped": "needs liger_kernel"},
    }
    begun = []

    def part(name, limit, options):
        begun.append((name, limit, options))
        return given[name]

    monkeypatch.setattr(script, "run_part", part)
    words = ["gpu_check.py", "--device", "cpu", "--tiny", "--out", str(tmp_path / "r" / "a.json")]
    monkeypatch.setattr(sys, "argv", [*words, "--only", "bf16", "fp16", "liger"])
    assert script.main() == 1
    record = json.loads((tmp_path / "r" / "a.json").read_text())
    assert {name: seen["status"] for name, seen in record["parts"].items()} == {
        "bf16": "passed", "fp16": "failed", "liger": "skipped",
    }  # fmt: skip
    assert record["versions"]["vllm"] and record["commit"] and record["date"].startswith("20")
    assert begun[0][2] == ["--device", "cpu", "--tiny"] and begun[0][1] <= PARTS["bf16"].seconds
    out = capsys.readouterr().out
    assert "moved 0.25" in out and "ended with 1" in out and "needs liger_kernel" in out
    assert "1 passed, 1 failed, 1 skipped" in out
    monkeypatch.setattr(sys, "argv", [*words, "--only", "bf16", "--seconds", "5"])
    assert script.main() == 0  # nothing failed: it was not begun
    assert "no time was left" in capsys.readouterr().out and len(begun) == 3


def test_a_part_that_takes_too_long_is_ended_and_named(script):
    seen = script.run_part("generation", 0.05, ["--device", "cpu", "--tiny"])
    assert seen["status"] == "failed" and "not done after" in seen["error"]


def test_a_program_that_fails_is_quoted():
    with pytest.raises(AssertionError, match=r"ended with 3:\nthe last words"):
        command([sys.executable, "-c", "print('the last words'); raise SystemExit(3)"])


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return Place(tmp_path, "cpu", True)


def test_memory_against_the_plan_on_a_cpu(place):
    """The whole way that a GPU takes: a random checkpoint, the plan, the probe with an adapter."""
    seen = PARTS["memory_lora_2b"].run(place)
    assert seen["parameters"] > 1e6 and seen["predicted_gib"] > 0 and seen["measured_gib"] > 0
    assert seen["tokens_per_second"] > 0


def test_generation_on_a_cpu(place):
    assert PARTS["generation"].run(place) == {"completions": 4, "equal": 4}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_that_a_cpu_can_run_in_one_go(script, tmp_path):
    """The script itself, every part in its process; training twice to the bit on a CPU."""
    out = tmp_path / "record.json"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--device", "cpu", "--tiny", "--out", str(out),
         "--seconds", "3600", "--patience", "10"],
        capture_output=True,
        text=True,
    )  # fmt: skip
    parts = json.loads(out.read_text())["parts"]
    assert done.returncode == 0, done.stdout + json.dumps(parts, indent=1)[-3000:]
    assert {name for name, seen in parts.items() if seen["status"] == "passed"} == ON_A_CPU
    assert all(seen["skipped"] for name, seen in parts.items() if name not in ON_A_CPU)
    assert parts["float32"]["to_the_bit"] and parts["bf16"]["to_the_bit"]
    assert parts["speed_256"]["trl_tokens_per_second"] > 0
