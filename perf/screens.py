"""Screenshots of what is served, in a headless Chromium: light and dark, to be looked at.

    python -m perf.screens report mlruns/demo_report.html --out screens
    python -m perf.screens mlflow --out screens        # the store in use, its latest run
    python -m perf.screens lab --out screens           # the notebooks, copied: untrusted
    python -m perf.screens docs build/docs --out screens
    python -m perf.screens app --out screens           # every view, wide and narrow; or: app judge

Those in docs/images/ were made so, looked at, and copied.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "kit"))
from chrome_kit import Chrome, chrome  # noqa: E402

SCHEMES = ("light", "dark")
#: Closes MLflow's assistant, which takes a third of the page.
CLOSE = (
    "[...document.querySelectorAll('[aria-label=Close], "
    "[data-component-id*=assistant][data-component-id*=close]')].at(-1)?.click()"
)
#: Unfolds the runs under the first one of the list, which are folded at first.
UNFOLD = "document.querySelector('.ag-row [data-component-id*=runnamecell]').click()"
#: Opens the first answer of a trace.
ANSWER = "[...document.querySelectorAll('span')].find(s => s.innerText === 'policy 1').click()"
#: A page: its name, its address, an expression that is true once it is drawn, where to scroll.
Page = tuple[str, str, str, str]


async def shoot(pages: list[Page], out: Path, size: tuple[int, int]) -> None:
    """Every page in both schemes, as a small PNG."""
    out.mkdir(parents=True, exist_ok=True)
    async with chrome(size[0]) as tab:
        for scheme in SCHEMES:
            await tab.size(*size, scheme)
            for name, address, drawn, scroll in pages:
                await tab.send("Page.navigate", url=address)
                await tab.until(f"document.readyState === 'complete' && !!({drawn})", 280)
                if scroll:
                    await tab.js(scroll)
                await settled(tab)
                taken = await tab.send("Page.captureScreenshot", format="png")
                save(base64.b64decode(taken["data"]), out / f"{name}-{scheme}.png")


async def settled(tab: Chrome) -> None:
    """Wait until two looks in a row are the same picture, ten at most."""
    before = ""
    for _ in range(10):
        taken = await tab.send("Page.captureScreenshot", format="png")
        if taken["data"] == before:
            return
        before = taken["data"]
        await asyncio.sleep(2)  # between two looks


def save(png: bytes, path: Path) -> None:
    """Write it small."""
    image = (
        Image.open(io.BytesIO(png))
        .convert("RGB")
        .quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=4)
    )
    image.save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


@contextmanager
def served(command: list[str], port: int, health: str, **more: str) -> Iterator[str]:
    """A server of this machine until its health page answers; ended afterwards."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, env={**os.environ, **more}, cwd=ROOT, **quiet)  # type: ignore[call-overload]
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                urllib.request.urlopen(f"{address}/{health}", timeout=5).close()
                break
            except OSError:
                if server.poll() is not None:
                    raise SystemExit(f"{command[:4]} ended before it answered") from None
        yield address
    finally:
        server.terminate()
        server.wait(60)


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def report(source: Path, out: Path) -> None:
    """A report's first screen and its middle."""
    ready, page = "document.body.innerText.length > 500", source.resolve().as_uri()
    middle = "window.scrollTo(0, document.body.scrollHeight * 0.12)"
    asyncio.run(
        shoot(
            [("report", page, ready, ""), ("report-figures", page, ready, middle)], out, (1100, 800)
        )
    )
    asyncio.run(shoot([("report-phone", page, ready, "")], out, (400, 800)))


def mlflow(out: Path) -> None:
    """The list of runs, and of the latest run its page, its charts, and its traces, one opened."""
    from ekipl_lab import tracking
    from ekipl_lab.tracking.pages import start_address

    port = free_port()
    command = [sys.executable, "-m", "ekipl_lab", "mlflow", "--no-browser", "--port", str(port)]
    run = next(
        run for run in tracking.list_runs(status="FINISHED") if "policy/reward" in run.metrics
    )
    above = run.tags.get("mlflow.parentRunId")  # runs under another are folded in the list
    name = tracking.find_run(above).name if above else run.name
    with served(command, port, "health") as address:
        listed = start_address(tracking.client(), address)
        experiment = tracking.client().get_run(run.run_id).info.experiment_id
        base = f"{address}/#/experiments/{experiment}/runs/{run.run_id}"
        text = "document.body.innerText.includes"
        unfolded = f"{CLOSE}; {UNFOLD if above else ''}"
        first: Page = ("mlflow-runs", listed, f"{text}('{name}')", unfolded)
        asyncio.run(shoot([first], out, (1760, 620)))  # as wide as its columns
        pages: list[Page] = [
            ("mlflow-run", base, f"{text}('Registered') || {text}('Parameters')", CLOSE),
            ("mlflow-charts", f"{base}/model-metrics", f"{text}('Overview')", ""),
            ("mlflow-traces", f"{base}/traces", f"{text}('Trace')", ""),
        ]
        found = tracking.client().search_traces(
            locations=[experiment], run_id=run.run_id, include_spans=False
        )
        kinds = {
            "mlflow-trace"
            if trace.info.tags["mlflow.traceName"].startswith("group, ")
            else "mlflow-evaluation": trace.info.trace_id
            for trace in found
        }
        for kind, trace in kinds.items():
            opened = f"{base}/traces?selectedEvaluationId={trace}"
            pages.append((kind, opened, f"{text}('reward')", ""))
            pages.append((f"{kind}-answer", opened, f"{text}('reward')", ANSWER))
        asyncio.run(shoot(pages, out, (1400, 800)))


def lab(out: Path, names: list[str]) -> None:
    """Notebooks as JupyterLab shows them without trust: the top, and below (NAME@PIXELS)."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "notebooks"
        shutil.copytree(ROOT / "notebooks", copy)
        theme = Path(folder) / "lab" / "@jupyterlab" / "apputils-extension"
        theme.mkdir(parents=True)
        (theme / "themes.jupyterlab-settings").write_text('{"adaptive-theme": true}')
        (theme / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
        command = [
            sys.executable,
            "-m",
            "jupyterlab",
            "--no-browser",
            "--allow-root",
            f"--port={port}",
        ]
        command += ["--IdentityProvider.token=", f"--ServerApp.root_dir={copy}"]
        settings = {
            "JUPYTERLAB_SETTINGS_DIR": f"{folder}/lab",
            "JUPYTERLAB_WORKSPACES_DIR": f"{folder}/w",
        }
        with served(command, port, "api", **settings) as address:
            ready = "document.querySelectorAll('.jp-Notebook .jp-Cell').length > 3"
            pages: list[Page] = []
            for name, _, top in (one.partition("@") for one in names):
                at = f"{address}/lab/tree/{name}.ipynb?reset"
                end = f"document.querySelector('.jp-WindowedPanel-outer').scrollTop = {top or 1500}"
                pages += [(f"lab-{name}", at, ready, ""), (f"lab-{name}-below", at, ready, end)]
            asyncio.run(shoot(pages, out, (1300, 900)))


def docs(source: Path, out: Path) -> None:
    """Pages of the built documentation."""
    names = ("index", "tutorial", "notebooks", "tracking", "architecture", "reference/face")
    pages = [
        (
            f"docs-{name.replace('/', '-')}",
            (source / f"{name}.html").resolve().as_uri(),
            "document.querySelector('article')",
            "",
        )
        for name in names
    ]
    asyncio.run(shoot(pages, out, (1300, 850)))


def app(out: Path, views: list[str]) -> None:
    """Views of the app on the store in use, wide and narrow; what is sampled, once it is there."""
    from app.views import NAMES

    drawn = "document.getElementById('copy') && !document.querySelector('#stage [aria-busy=true]')"
    port = free_port()
    command = [sys.executable, "-m", "app", "--port", str(port)]
    with served(command, port, "config") as address:
        for width in (1280, 400):
            pages = [
                (f"app-{view}-{width}", f"{address}/?view={view}", drawn, "")
                for view in views or NAMES
            ]
            asyncio.run(shoot(pages, out, (width, 1200)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["report", "mlflow", "lab", "docs", "app"])
    parser.add_argument("source", nargs="*", help="the report, the built docs, notebooks, or views")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.what == "mlflow":
        mlflow(args.out)
    elif args.what == "app":
        app(args.out, args.source)
    elif args.what == "lab":
        lab(args.out, args.source or ["00_quickstart"])
    else:
        {"report": report, "docs": docs}[args.what](Path(args.source[0]), args.out)
