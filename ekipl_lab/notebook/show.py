"""Groups and plotly figures that stay readable in a saved notebook."""

from __future__ import annotations

import base64
import io
import json
import tempfile
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from ekipl_lab.errors import ConfigError
from ekipl_lab.images import png_uri
from ekipl_lab.plots import figures as plots
from ekipl_lab.types import ActionGroup

WIDTH = 760
#: Characters of a completion that are shown.
MAX_SHOWN = 600
_CELL = 'style="text-align:left;vertical-align:top;padding:4px 10px"'
#: A viewer's own style gives every column one width, and code a background of its own.
_TABLE, _TEXT = 'style="table-layout:auto"', 'style="background:none;padding:0"'
_IMAGE = 'style="image-rendering:pixelated;border:1px solid #ddd;flex:none"'


def show_figure(figure: Any, *, width: int = WIDTH) -> None:
    """Display a plotly figure with a PNG of it as the fallback."""
    from IPython.display import display

    bundle, problem = figure_bundle(figure, width=width)
    display(bundle, raw=True)
    if problem:
        print(f"No picture of this figure is kept for viewers without scripts: {problem}")


def figure_bundle(figure: Any, *, width: int = WIDTH) -> tuple[dict[str, Any], str]:
    """MIME type -> data of a figure, and why there is no picture among them (empty if there is).

    Plotly's own form needs scripts; the picture, which every viewer shows, kaleido and a browser.
    """
    plain = _without_unused(json.loads(figure.to_json()))
    bundle: dict[str, Any] = {"application/vnd.plotly.v1+json": plain}
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = plots.write_image(figure, Path(folder) / "figure.png", width=width, scale=1)
            bundle["image/png"] = small_png(Image.open(path))
    except ConfigError as error:
        return bundle, str(error)
    return bundle, ""


def _without_unused(figure: dict[str, Any]) -> dict[str, Any]:
    """Without the parts of plotly's template that this figure does not use: most of a small one."""
    template = figure["layout"].get("template", {})
    if "data" in template:
        used = {trace["type"] for trace in figure["data"]}
        template["data"] = {kind: v for kind, v in template["data"].items() if kind in used}
    for part in ("geo", "map", "mapbox", "polar", "scene", "ternary"):
        template.get("layout", {}).pop(part, None)
    return figure


def show_image(image: Image.Image) -> None:
    """Display a picture in at most 256 colours, which keeps the saved notebook small."""
    from IPython.display import display

    size = f"picture, {image.width} x {image.height} pixels"
    display({"image/png": small_png(image), "text/plain": size}, raw=True)


def small_png(image: Image.Image) -> str:
    """A picture in at most 256 colours as PNG, in base64."""
    file = io.BytesIO()
    image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")


def show_group(group: ActionGroup, *, width: int = 168) -> Any:
    """Image(s), question, and one row per candidate; dropped ones are pale.

    Every text is escaped: what a model wrote is never markup.
    """
    from IPython.display import HTML

    return HTML(group_html(group, width=width))


def group_html(group: ActionGroup, *, width: int = 168) -> str:
    """The HTML of ``show_group``: styles are inline, since a notebook has no place for others."""
    sample, names = group.sample, list(group.rewards[0].components)
    pictures = "".join(
        f'<img src="{png_uri(image)}" width="{width}" {_IMAGE}>' for image in sample.images
    )
    cells = ["source", "completion", *names, "reward", "kept", "advantage"]
    head = "".join(f"<th {_CELL}>{escape(cell)}</th>" for cell in cells)
    colours = plots.source_colours(action.source for action in group.candidates)
    rows = "".join(_row(group, index, names, colours) for index in range(len(group.candidates)))
    return (
        f'<div style="display:flex;gap:20px;align-items:flex-start">{pictures}'
        f"<p><b>{escape(sample.question)}</b><br>true answer "
        f"<b>{escape(sample.answer)}</b> · rule {escape(group.rule)}</p></div>"
        f"<table {_TABLE}><tr>{head}</tr>{rows}</table>"
    )


def _row(group: ActionGroup, index: int, names: list[str], colours: dict[str, str]) -> str:
    action, reward = group.candidates[index], group.rewards[index]
    advantage = dict(zip(group.kept, group.advantages, strict=True)).get(index)
    mark = {True: "✓", False: "✗", None: "not scored"}[reward.success]
    values = [
        f'<span style="color:{colours[action.source]}">●</span>&nbsp;{escape(action.source)}',
        f"<code {_TEXT}>{escape(action.completion[:MAX_SHOWN])}</code>",
        *(_number(reward.components[name]) for name in names),
        f"{_number(reward.total)} {mark}",
        "dropped" if advantage is None else "kept",
        "" if advantage is None else f"{advantage:+.2f}",
    ]
    cells = "".join(f"<td {_CELL}>{value}</td>" for value in values)
    return f'<tr style="opacity:{0.5 if advantage is None else 1}">{cells}</tr>'


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:g}"
