"""``ekipl doctor``: does everything the main job needs work here? One line a check.

With ``--config`` also what that config needs: its policy's image path, and whether the servers of
its API teachers answer. Nothing is bought: a connection is opened, and no request is sent.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from ekipl_lab.commands.doctor_config import Check, check_policy, config_checks
from ekipl_lab.commands.options import named_path
from ekipl_lab.errors import ConfigError, EKIPLError
from ekipl_lab.libraries import check_torchvision
from ekipl_lab.tables import piped

#: What the main job imports; trl is pinned because the trainer overrides methods private to it.
PACKAGES = ("torch", "transformers", "trl", "peft", "mlflow", "datasets", "plotly", "pyarrow")


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: ``state`` is ok, note (worth knowing, nothing to fix) or broken."""

    name: str
    state: str
    text: str

    @property
    def fix(self) -> str:
        """What to do: the part of the sentence after its semicolon; empty where all is well."""
        return "" if self.state == "ok" else self.text.partition("; ")[2]


def add_options(parser: argparse.ArgumentParser) -> None:
    """What else to look at, and how to print it."""
    parser.add_argument("--config", type=named_path, help="check what this config needs, too")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(args: argparse.Namespace) -> int:
    """Run every check and print what was found; 2 if anything is broken."""
    began = time.process_time(), time.monotonic()
    checks = list(CHECKS)
    if args.config is not None:
        from ekipl_lab.training.config.run_config import load_config

        checks += config_checks(load_config(args.config, []), args.config)
    findings = examine(checks)
    if args.json:
        rows = [{"name": f.name, "state": f.state, "text": f.text, "fix": f.fix} for f in findings]
        print(json.dumps(rows, indent=1))
        return _code(findings)
    code = print_findings(findings)
    seconds = time.process_time() - began[0], time.monotonic() - began[1]
    print(f"{seconds[1]:.1f} s ({seconds[0]:.1f} s of processor time)")
    return code


def check_python() -> str:
    """Python and the machine."""
    memory = ""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
        memory = f", {size:.0f} GiB memory"
    return f"{platform.python_version()} on {sys.platform}, {os.cpu_count()} cores{memory}"


def check_packages() -> str:
    """Versions of the packages that matter."""
    try:
        found = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigError(f"Package {error.name} is missing; `make setup` installs it.") from error
    return ", ".join(found)


def check_vision_package() -> str:
    """Whether torchvision, if it is there, fits torch."""
    check_torchvision()
    try:
        return f"torchvision {importlib.metadata.version('torchvision')} fits torch"
    except importlib.metadata.PackageNotFoundError:
        return "torchvision is not installed; the main job does not need it"


def check_device() -> str:
    """The accelerator, if any, and torch's threads."""
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name(0)
        count = torch.cuda.device_count()
        kind = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bf16"
        shown = f"{count} x {name}" if count > 1 else name
        return f"{shown}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free, {kind}"
    return f"CPU only, {torch.get_num_threads()} threads"


def check_benchmark() -> str:
    """The built-in benchmark renders."""
    from ekipl_lab.benchmarks import load_samples

    samples = load_samples("mini", task="counting", split="validation", limit=4)
    size = samples[0].images[0].size
    return f"mini/counting renders at {size[0]} x {size[1]} px"


def check_store() -> str:
    """MLflow's store can be opened, is whole, and no run in it only says that it is running."""
    from ekipl_lab.tracking import ensure_store, list_runs
    from ekipl_lab.tracking.provenance import process_is_gone

    place = ensure_store()
    stale = [run for run in list_runs(status="RUNNING") if process_is_gone(run.tags)]
    if stale:
        raise LookupError(
            f"{place}: {len(stale)} runs say that they are running and their process is gone; "
            "`ekipl runs repair` marks them as killed"
        )
    return f"{place} opens and is whole"


def check_disk() -> str:
    """Room for runs."""
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    if free < 2:
        raise ConfigError(f"Only {free:.1f} GiB of disk are free; runs need about 2 GiB.")
    return f"{free:.0f} GiB free"


def check_figures() -> str:
    """Kaleido and a Chromium for static figures; without them figures stay interactive only."""
    names = ("chromium", "google-chrome", "chromium-browser", "chrome")
    browser = next((name for name in names if shutil.which(name)), None)
    missing = []
    if importlib.util.find_spec("kaleido") is None:
        missing.append("kaleido (`pip install kaleido`)")
    if browser is None:
        missing.append("a Chromium (Debian: `apt-get install chromium`)")
    if missing:
        raise LookupError(f"figures stay interactive; static ones need {' and '.join(missing)}")
    return f"kaleido and {browser} found: static figures can be drawn"


CHECKS: Sequence[Check] = (
    ("python", check_python),
    ("packages", check_packages),
    ("torchvision", check_vision_package),
    ("device", check_device),
    ("disk", check_disk),
    ("benchmark", check_benchmark),
    ("policy", check_policy),
    ("store", check_store),
    ("figures", check_figures),
)


def examine(checks: Sequence[Check] = CHECKS) -> list[Finding]:
    """Run every check; one that fails does not stop the others."""
    findings = []
    for name, check in checks:
        try:
            findings.append(Finding(name, "ok", check()))
        except LookupError as error:
            findings.append(Finding(name, "note", str(error)))
        except EKIPLError as error:
            findings.append(Finding(name, "broken", str(error)))
    return findings


def print_findings(findings: Sequence[Finding]) -> int:
    """Print them as a table; 2 if anything is broken."""
    marks = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "broken": "[red]broken[/]"}
    table = Table(box=None, pad_edge=False, show_header=False)
    for finding in findings:
        table.add_row(marks[finding.state], finding.name, escape(finding.text))
    piped().print(table)
    return _code(findings)


def _code(findings: Sequence[Finding]) -> int:
    return 2 if any(finding.state == "broken" for finding in findings) else 0
