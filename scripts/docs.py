#!/usr/bin/env python3
"""Build the pages of docs/ as HTML in build/docs: `make docs`. Every warning is an error.

The reference of the command line and of the library is written first, from the parsers and the
docstrings, into docs/reference/, which git ignores.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from ekipl_lab import _FACE  # noqa: E402
from ekipl_lab.commands.cli import COMMANDS, build_parser  # noqa: E402

REFERENCE = ROOT / "docs" / "reference"
#: Page -> the modules whose public names it documents. Every room has one, but for `commands/`.
API = {
    "core": ["types", "errors", "prompts", "parsing", "statistics", "files", "secrets"],
    "benchmarks": ["benchmarks", "benchmarks.mini.chains"],
    "policies": ["policies"],
    "teachers": ["teachers.build", "teachers.spec", "teachers.gateway.spec"],
    "rewards": ["rewards"],
    "groups": [
        "groups.build",
        "groups.selection",
        "groups.advantages",
        "groups.weighting",
        "groups.signs",
        "groups.schedules",
        "groups.options",
        "groups.doctor",
    ],
    "training": ["training.config.run_config", "training.config.sections", "training.run"],
    "records": ["records"],
    "tracking": ["tracking"],
    "evaluation": ["evaluation"],
    "plots": ["plots.figures", "plots.sources"],
    "report": ["report"],
    "studies": ["studies.plan", "studies.record"],
    "biaslab": ["biaslab", "biaslab.measure"],
    "notebook": ["notebook", "notebook.by_hand"],
}


def fence(directive: str, text: str) -> str:
    """A directive of Sphinx in a Markdown page."""
    return f"```{{{directive}}}\n{text}\n```\n"


def face_page() -> str:
    """The names of `import ekipl_lab as ek`, each with its docstring."""
    lines = ["# `import ekipl_lab as ek`", "By task: [notebook_api](../notebook_api.md)."]
    for module, names in _FACE.items():
        home = import_module(f"ekipl_lab.{module}")
        for name in names:
            kind = "class" if isinstance(getattr(home, name), type) else "function"
            line = f".. auto{kind}:: ekipl_lab.{module}.{name}\n   :no-index:"
            lines.append(fence("eval-rst", line + "\n   :members:" * (kind == "class")))
    return "\n\n".join(lines)


def module_page(title: str, modules: list[str]) -> str:
    """What a room offers: the names in a package's ``__all__``, or those its module defines."""
    lines = [f"# {title}"]
    for module in modules:
        name = f"ekipl_lab.{module}"
        line = f".. automodule:: {name}\n   :members:"
        if hasattr(import_module(name), "__all__"):
            line += "\n   :imported-members:"
        lines += [f"## `{name}`", fence("eval-rst", line)]
    return "\n\n".join(lines)


def cli_page() -> str:
    """Every command with the help that it prints."""
    lines = ["# Commands"]
    lines.append(
        "Exit codes: 0 done; 1 a check failed; 2 wrong use or a full disk; 130 interrupted."
    )
    for name, summary in COMMANDS.items():
        lines += [f"## `ekipl {name}`", summary, f"```text\n{help_of(name).rstrip()}\n```"]
    return "\n\n".join(lines) + "\n"


def help_of(command: str) -> str:
    """What `ekipl COMMAND --help` prints."""
    said = io.StringIO()
    width = mock.patch.dict(os.environ, COLUMNS="96")
    with width, contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        build_parser().parse_args([*command.split(), "--help"])
    return said.getvalue()


def write_reference() -> None:
    """All generated pages; one that is as it was is not touched, so that Sphinx keeps it."""
    pages = {"cli": cli_page(), "face": face_page()}
    pages |= {page: module_page(page, modules) for page, modules in API.items()}
    listed = "\n".join(["face", *API])
    pages["index"] = f"# The library\n\nFrom its docstrings.\n\n{fence('toctree', listed)}\n"
    REFERENCE.mkdir(exist_ok=True)
    for path in REFERENCE.glob("*.md"):
        if path.stem not in pages:
            path.unlink()
    for page, text in pages.items():
        path = REFERENCE / f"{page}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def build(out: Path) -> int:
    """sphinx-build, warnings as errors; its exit code."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    return subprocess.run([*command, str(ROOT / "docs"), str(out)], cwd=ROOT).returncode


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "docs")
    wanted = parser.parse_args()
    write_reference()
    code = build(wanted.out)
    print(f"{'Built' if code == 0 else 'Not sound'}: {wanted.out / 'index.html'}")
    sys.exit(code)
