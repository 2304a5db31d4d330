"""``ekipl doctor``: does everything the main job needs work here? One line a check."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from ekipl_lab.errors import ConfigError, EKIPLError
from ekipl_lab.tables import piped

#: What the main job imports; trl is pinned because the trainer overrides methods private to it.
PACKAGES = ("torch", "transformers", "trl", "peft", "mlflow", "datasets", "plotly", "pyarrow")
#: The shipped warm start.
DEFAULT_POLICY = Path("assets/policies/counting")


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: ``state`` is ok, note (worth knowing, nothing to fix) or broken."""

    name: str
    state: str
    text: str


def run(args: argparse.Namespace) -> int:
    """Run every check and print what was found; 2 if anything is broken."""
    return print_findings(examine())


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


def check_device() -> str:
    """The accelerator, if any, and torch's threads."""
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name(0)
        return f"{name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    return f"CPU only, {torch.get_num_threads()} threads"


def check_policy() -> str:
    """The shipped warm start loads and sees (another image changes its logits)."""
    from ekipl_lab.policies.load import load_policy

    policy = load_policy(DEFAULT_POLICY)
    size = sum(parameter.numel() for parameter in policy.model.parameters())
    return f"{DEFAULT_POLICY}: {size / 1e6:.2f} M parameters, sees"


def check_benchmark() -> str:
    """The built-in benchmark renders."""
    from ekipl_lab.benchmarks import load_samples

    samples = load_samples("mini", task="counting", split="validation", limit=4)
    size = samples[0].images[0].size
    return f"mini/counting renders at {size[0]} x {size[1]} px"


def check_store() -> str:
    """MLflow's store can be opened."""
    from ekipl_lab.tracking import ensure_store

    return str(ensure_store() or "mlruns/ can be written")


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


CHECKS: Sequence[tuple[str, Callable[[], str]]] = (
    ("python", check_python),
    ("packages", check_packages),
    ("device", check_device),
    ("disk", check_disk),
    ("benchmark", check_benchmark),
    ("policy", check_policy),
    ("store", check_store),
    ("figures", check_figures),
)


def examine(checks: Sequence[tuple[str, Callable[[], str]]] = CHECKS) -> list[Finding]:
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
        table.add_row(marks[finding.state], finding.name, finding.text)
    piped().print(table)
    return 2 if any(finding.state == "broken" for finding in findings) else 0
