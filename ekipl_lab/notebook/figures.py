"""Plotly figures that survive in a saved notebook.

A notebook keeps plotly's own form, which needs scripts, and beside it a picture, which every
viewer shows. The picture needs kaleido and a Chrome or Chromium; without them only the first is
kept, and a line says so.
"""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path
from typing import Any

from ekipl_lab.errors import ConfigError
from ekipl_lab.plots import figures as plots

WIDTH = 760


def show_figure(figure: Any, *, width: int = WIDTH) -> None:
    """Display a plotly figure with a PNG of it as the fallback."""
    from IPython.display import display

    bundle, problem = figure_bundle(figure, width=width)
    display(bundle, raw=True)
    if problem:
        print(f"No picture of this figure is kept for viewers without scripts: {problem}")


def figure_bundle(figure: Any, *, width: int = WIDTH) -> tuple[dict[str, Any], str]:
    """MIME type -> data of a figure, and why there is no picture among them (empty if there is)."""
    plain = json.loads(figure.to_json())
    bundle: dict[str, Any] = {"application/vnd.plotly.v1+json": plain}
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = plots.write_image(figure, Path(folder) / "figure.png", width=width, scale=1)
            bundle["image/png"] = base64.b64encode(path.read_bytes()).decode("ascii")
    except ConfigError as error:
        return bundle, str(error)
    return bundle, ""
