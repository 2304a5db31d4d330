#!/usr/bin/env python3
"""Execute notebooks in fresh processes, check what they show, and save their outputs.

    python scripts/notebooks.py                    every notebook, quick
    python scripts/notebooks.py 04 06              those whose names begin so
    python scripts/notebooks.py 06 --mode full     at its full length; nothing is saved
    python scripts/notebooks.py --check            no execution: check the committed ones
    python scripts/notebooks.py --time             execute, save nothing but how long each took
    python scripts/notebooks.py 06 --mode full --time     the same at its full length

--time writes results/notebooks.json and the table in docs/notebooks.md.

The source is notebooks/NN_name.py (jupytext, percent format); what is saved is the .ipynb beside
it. Each is executed with a store of its own, which is thrown away.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from ekipl_lab.errors import ConfigError  # noqa: E402
from ekipl_lab.files import write_text  # noqa: E402
from ekipl_lab.secrets import refuse_secrets  # noqa: E402

FOLDER = ROOT / "notebooks"
TIMES, PAGE = ROOT / "results" / "notebooks.json", ROOT / "docs" / "notebooks.md"
_TABLE = re.compile(
    r"(<!-- times: generated, do not edit -->\n).*?(<!-- times: end -->)", re.DOTALL
)
#: Bytes of a committed notebook; seconds that one may take in quick mode.
MAX_BYTES, MAX_SECONDS = 320_000, 180
PLOTLY = "application/vnd.plotly.v1+json"
#: What a viewer shows only of a notebook that it trusts; a picture must stand beside it.
NEEDS_TRUST = {
    "image/svg+xml",
    PLOTLY,
    "application/vnd.jupyter.widget-view+json",
}
_DICT = re.compile(r"\{'\w+': ")
#: A folder of some machine: of a user, or of temporary files.
_PATH = re.compile(r"(?:/(?:home|Users|root|work|tmp|mnt|private)/\w|[A-Z]:\\\w)")


def sources(wanted: list[str] | None = None) -> list[Path]:
    """The .py files of the notebooks whose names begin with one of ``wanted``; all without it."""
    found = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
    for name in wanted or []:
        if not any(path.stem.startswith(name) for path in found):
            raise SystemExit(f"No notebook begins with {name!r}: {[path.stem for path in found]}")
    return [path for path in found if not wanted or path.stem.startswith(tuple(wanted))]


def execute(source: Path, mode: str = "quick", store: Path | None = None) -> nbformat.NotebookNode:
    """The notebook of ``source``, executed by a kernel of its own; raises what a cell raises.

    ``store`` is a folder for MLflow's store, teachers' caches and reports; by default a temporary
    one.
    """
    if store is None:
        with tempfile.TemporaryDirectory() as folder:
            return execute(source, mode, Path(folder))
    notebook = jupytext.read(source)
    environment = {
        **os.environ,
        "MODE": mode,
        "MLFLOW_TRACKING_URI": f"sqlite:///{store}/mlflow.db",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
    }
    client = NotebookClient(
        notebook,
        timeout=1800 if mode == "quick" else None,
        kernel_name="python3",
        resources={"metadata": {"path": FOLDER}},
    )
    client.execute(env=environment)
    return clean(notebook)


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Without what changes from one execution to the next or says nothing: ids, times, doubles."""
    notebook.metadata = nbformat.from_dict(
        {
            "jupytext": {"formats": "ipynb,py:percent"},
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for index, cell in enumerate(notebook.cells):
        cell.id = f"cell-{index:02d}"
        cell.metadata = {key: value for key, value in cell.metadata.items() if key == "tags"}
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.data.pop("image/jpeg", None)  # Pillow shows both
    return notebook


def problems(path: Path) -> Iterator[str]:
    """What is wrong with a committed notebook, a sentence each."""
    source, notebook = jupytext.read(path.with_suffix(".py")), nbformat.read(path, as_version=4)
    text = path.read_text(encoding="utf-8")
    if _cells(notebook) != _cells(source):
        yield f"it differs from its source; run `python scripts/notebooks.py {path.stem}`"
    if len(text.encode()) > MAX_BYTES:
        yield f"it has {len(text.encode())} bytes; {MAX_BYTES} are allowed"
    try:
        refuse_secrets(path.name, text)
    except ConfigError as error:
        yield str(error)
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and not cell.execution_count:
            yield f"cell {number} was not executed"
        for output in cell.get("outputs", []):
            yield from (f"cell {number} {problem}" for problem in output_problems(output))


def output_problems(output: nbformat.NotebookNode) -> Iterator[str]:
    """What is wrong with one output."""
    if output.output_type == "error":
        yield f"ends in {output.ename}"
    if output.get("name") == "stderr":
        yield f"writes to stderr: {output.text.splitlines()[0]}"
    data = output.get("data", {})
    untrusted = NEEDS_TRUST & set(data)
    if untrusted and "image/png" not in data:
        yield f"shows {untrusted} without a PNG beside it"
    if "...</td>" in data.get("text/html", ""):
        yield "cuts off a text of a table; show it with ek.show"
    plain = output.get("text") or ("" if "text/html" in data else data.get("text/plain", ""))
    if found := _DICT.search(plain):
        yield f"shows a dict instead of a table: {found.group()}..."
    shown = json.dumps([output.get("text"), {k: v for k, v in data.items() if k != "image/png"}])
    shown = re.sub(r"data:image/\w+;base64,[\w+/=]+", "", shown)  # random letters and slashes
    for path in {match.group() for match in _PATH.finditer(shown)}:
        yield f"names a folder of this machine: {path}..."
    host = socket.gethostname()
    if host != "localhost" and re.search(rf"\b{re.escape(host)}\b", shown):
        yield "names this machine"


def _cells(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def save(source: Path, notebook: nbformat.NotebookNode) -> None:
    """Write the .ipynb beside its source, at once or not at all; a plotly figure on one line."""
    target, temporary = source.with_suffix(".ipynb"), source.with_suffix(".tmp")
    lines: list[str] = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if PLOTLY in output.get("data", {}):
                lines.append(json.dumps(output.data[PLOTLY], separators=(",", ":")))
                output.data[PLOTLY] = f"figure {len(lines) - 1} of this notebook"
    text = nbformat.writes(notebook)
    for number, line in enumerate(lines):
        text = text.replace(f'"figure {number} of this notebook"', line)
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(target)


def processor_seconds() -> float:
    """Of child processes that have ended: the kernels."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def record_time(name: str, mode: str, seconds: float, processor: float) -> None:
    """Note how long a notebook took, and draw the table of the page anew.

    The processor's seconds count: the wall's depend on what else the machine was doing.
    """
    if mode == "quick" and processor > MAX_SECONDS:
        raise SystemExit(f"{name} took {processor:.0f} processor s; {MAX_SECONDS} are allowed")
    times = json.loads(TIMES.read_text(encoding="utf-8")) if TIMES.exists() else {}
    took = {"seconds": round(seconds), "processor_seconds": round(processor)}
    times[name] = times.get(name, {}) | (took if mode == "quick" else {"full": took})
    write_text(TIMES, json.dumps(times, indent=2, sort_keys=True) + "\n")
    page = PAGE.read_text(encoding="utf-8")
    write_text(PAGE, _TABLE.sub(lambda found: found[1] + time_table(times) + found[2], page))


def time_table(times: dict[str, dict[str, Any]]) -> str:
    """Every notebook with its seconds in both modes; those not measured say so."""
    columns = ["notebook", "quick: processor, s", "wall, s", "full: processor, s", "wall, s"]
    rows = [columns, ["---"] * len(columns)]
    for source in sources():
        quick = times.get(source.stem, {})
        shown = [
            str(took.get(name, "not measured"))
            for took in (quick, quick.get("full", {}))
            for name in ("processor_seconds", "seconds")
        ]
        rows.append([source.stem, *shown])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main() -> int:
    """Execute and check what the command line names; 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="beginnings of names, such as 04; default: all")
    parser.add_argument("--mode", choices=["quick", "full"], default="quick")
    parser.add_argument("--check", action="store_true", help="execute nothing")
    parser.add_argument("--time", action="store_true", help="save nothing but how long it took")
    args = parser.parse_args()
    found = 0
    for source in sources(args.names):
        seconds = 0.0
        if not args.check:
            begin, used = time.monotonic(), processor_seconds()
            notebook = execute(source, args.mode)
            seconds = time.monotonic() - begin
            if args.time:
                record_time(source.stem, args.mode, seconds, processor_seconds() - used)
            elif args.mode == "quick":
                save(source, notebook)
        wrong = list(problems(source.with_suffix(".ipynb")))
        found += len(wrong)
        size = source.with_suffix(".ipynb").stat().st_size
        print(f"{source.stem}: {seconds:.0f} s, {size / 1000:.0f} kB", *wrong, sep="\n  - ")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
