"""Whatever only a GPU can show, in at most ten minutes; nothing is downloaded.

    python scripts/gpu_check.py                        # writes results/gpu/DATE-DEVICE.json
    python scripts/gpu_check.py --only memory_qlora_3b --cap-gib 15.5
    python scripts/gpu_check.py --device cpu --tiny    # what of it a CPU can run

Each part (`perf/gpu/parts.py`) runs in a process of its own under a time limit; one that fails does
not hide the others, and one that cannot be run here says why. Ends with 0 if every part that was
run passed, 1 if one failed, 2 if there is no GPU. It has not been run on a GPU (docs/gpu.md).
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ekipl_lab.files import write_text  # noqa: E402

#: Seconds for all parts together, and what a part needs at least to be begun.
BUDGET, LEAST = 600.0, 15.0
LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "vllm",
             "deepspeed", "liger-kernel", "flash-attn")  # fmt: skip


def run_part(name: str, limit: float, options: list[str]) -> dict[str, Any]:
    """What a part saw; ``error`` where it failed, was killed by its limit, or wrote nothing."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        out, log = Path(folder) / "seen.json", Path(folder) / "log.txt"
        words = [sys.executable, "-m", "perf.gpu", name, "--out", str(out), *options]
        paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"}
        with log.open("wb") as said:
            process = subprocess.Popen(
                words, cwd=ROOT, env=environment, stdout=said, stderr=said, start_new_session=True
            )
            try:
                code: int | None = process.wait(limit)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                end_session(process)
        seconds = round(time.monotonic() - begun, 1)
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-30:]
        if code == 0 and out.is_file():
            seen: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
            return {
                "status": "skipped" if "skipped" in seen else "passed",
                "seconds": seconds,
            } | seen
    why = f"not done after {limit:.0f} s" if code is None else f"ended with {code}"
    return {"status": "failed", "seconds": seconds, "error": why, "last_lines": last}


def end_session(process: subprocess.Popen[bytes]) -> None:
    """Kill what the part has started and left behind, servers included."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def machine(device: str) -> dict[str, Any]:
    """What the record is of."""
    import torch

    found: dict[str, Any] = {"device": platform.processor() or platform.machine()}
    if device == "cuda":
        card = torch.cuda.get_device_properties(0)
        found = {
            "device": card.name, "memory_gib": round(card.total_memory / 2**30, 1),
            "gpus": torch.cuda.device_count(), "cuda": torch.version.cuda,
            "bfloat16": torch.cuda.is_bf16_supported(including_emulation=False),
        }  # fmt: skip
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = "not known: no git checkout"
    return found | {"versions": versions, "commit": commit}


def line(name: str, seen: dict[str, Any]) -> str:
    """A row of the table that is printed."""
    numbers = [
        f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in seen.items()
        if isinstance(value, int | float) and key != "seconds"
    ]
    said = seen.get("skipped") or seen.get("error") or seen.get("said") or ", ".join(numbers)
    return f"{name:18} {seen['status']:8} {seen.get('seconds', 0):6.1f} s  {said}"


def main() -> int:
    """Run the parts, each in a fresh process, and write what they gave after every one."""
    from perf.gpu.parts import PARTS

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=None, help="the record (results/gpu/...)")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--cap-gib", type=float, default=None, help="memory of a smaller card")
    parser.add_argument("--seconds", type=float, default=BUDGET, help="for all parts together")
    parser.add_argument("--patience", type=float, default=1.0, help="times the limits of parts")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="shrunk models everywhere")
    args = parser.parse_args()
    import torch

    if args.device == "cuda" and not torch.cuda.is_available():
        print("gpu_check: there is no CUDA GPU here; nothing was checked.", file=sys.stderr)
        return 2
    begun, now = time.monotonic(), datetime.datetime.now(datetime.UTC)
    record: dict[str, Any] = {
        "date": now.isoformat(timespec="seconds"), "tiny": args.tiny, **machine(args.device),
        "parts": {},
    }  # fmt: skip
    words = re.sub(r"[^a-z0-9]+", "-", record["device"].lower()).strip("-") or args.device
    out = args.out or ROOT / "results" / "gpu" / f"{now:%Y-%m-%d}-{words}.json"
    options = ["--device", args.device, *(["--tiny"] if args.tiny else [])]
    options += ["--cap-gib", str(args.cap_gib)] if args.cap_gib else []
    for name in args.only:
        left = args.seconds - (time.monotonic() - begun)
        if left < min(LEAST, PARTS[name].seconds):
            seen: dict[str, Any] = {"status": "skipped", "skipped": "no time was left"}
        else:
            seen = run_part(name, min(left, args.patience * PARTS[name].seconds), options)
        record["parts"][name] = {"about": PARTS[name].about} | seen
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, json.dumps(record, indent=1) + "\n")
        print(line(name, seen), flush=True)
    statuses = [seen["status"] for seen in record["parts"].values()]
    counts = ", ".join(f"{statuses.count(s)} {s}" for s in ("passed", "failed", "skipped"))
    print(f"{counts}; {time.monotonic() - begun:.0f} s; record: {out}")
    return 1 if "failed" in statuses else 0


if __name__ == "__main__":
    sys.exit(main())
