"""What a run must know about where it came from: revision, packages, process."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import socket
import subprocess
from collections.abc import Mapping
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]

from ekipl_lab.tracking.store import project_root

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

#: Tag of data that a run works on, followed by their context: name and fingerprint.
DATA_TAG = "ekipl.data."

#: Packages whose versions decide results.
PACKAGES = (
    "ekipl-lab",
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "numpy",
    "pillow",
    "mlflow",
)


def git_tags() -> dict[str, str]:
    """Revision of the clone and whether files differ from it; empty outside of a clone."""
    revision = _git("rev-parse", "HEAD")
    if revision is None:
        return {}
    dirty = _git("status", "--porcelain", "--untracked-files=no") != ""
    return {
        "mlflow.source.git.commit": revision,
        "ekipl.git_revision": revision,
        "ekipl.git_dirty": str(dirty).lower(),
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=project_root(), capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def environment() -> dict[str, object]:
    """Python, platform, CPU count, thread settings and package versions."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS", ""),
        "packages": versions,
    }


def process_tags(pid: int | None = None) -> dict[str, str]:
    """Tags that tell whether the process that writes a run still lives."""
    process = psutil.Process(pid)
    return {
        "ekipl.host": socket.gethostname(),
        "ekipl.pid": str(process.pid),
        "ekipl.pid_started": f"{process.create_time():.2f}",
    }


def process_is_gone(tags: Mapping[str, str]) -> bool:
    """Whether the process of these tags ran on this host and is no more (pids are reused)."""
    if tags.get("ekipl.host") != socket.gethostname() or "ekipl.pid" not in tags:
        return False
    try:
        return not process_tags(int(tags["ekipl.pid"])).items() <= tags.items()
    except psutil.NoSuchProcess:
        return True


def dataset_input(name: str, fingerprint: str, context: str) -> DatasetInput:
    """Data as MLflow has them beside a run's parameters."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = Dataset(name, fingerprint[:36], "ekipl", json.dumps({"fingerprint": fingerprint}))
    return DatasetInput(data, [InputTag("mlflow.data.context", context)])
