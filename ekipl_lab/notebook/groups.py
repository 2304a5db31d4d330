"""A group as an HTML table with its image: the notebook's small form of the app's page."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING, Any

from ekipl_lab.plots import figures as plots
from ekipl_lab.types import ActionGroup, RewardBreakdown

if TYPE_CHECKING:
    from PIL.Image import Image

_CELL = 'style="text-align:left;vertical-align:top;padding:4px 10px"'
#: Characters of a completion that are shown.
MAX_SHOWN = 600


def show_group(group: ActionGroup, *, width: int = 168) -> Any:
    """Image(s), question, and one row per candidate; dropped ones are pale.

    Every text is escaped: what a model wrote is never markup.
    """
    from IPython.display import HTML

    return HTML(group_html(group, width=width))


def group_html(group: ActionGroup, *, width: int = 168) -> str:
    """The HTML of ``show_group``."""
    sample = group.sample
    names = list(group.rewards[0].components)
    pictures = "".join(_picture(image, width) for image in sample.images)
    cells = ["source", "completion", *names, "reward", "kept", "advantage"]
    head = "".join(f"<th {_CELL}>{html.escape(cell)}</th>" for cell in cells)
    rows = "".join(_row(group, index, names) for index in range(len(group.candidates)))
    return (
        f'<div style="display:flex;gap:20px;align-items:flex-start">{pictures}<div>'
        f"<p><b>{html.escape(sample.question)}</b><br>true answer "
        f"<b>{html.escape(sample.answer)}</b> · rule {html.escape(group.rule)}</p>"
        f"<table><tr>{head}</tr>{rows}</table></div></div>"
    )


def _row(group: ActionGroup, index: int, names: list[str]) -> str:
    action, reward = group.candidates[index], group.rewards[index]
    advantages = dict(zip(group.kept, group.advantages, strict=True))
    colour = plots.source_colours(a.source for a in group.candidates)[action.source]
    source = f'<span style="color:{colour}">●</span> {html.escape(action.source)}'
    kept = index in advantages
    values = [
        source,
        f"<code>{html.escape(action.completion[:MAX_SHOWN])}</code>",
        *(_number(reward.components[name]) for name in names),
        f"{_number(reward.total)} {_mark(reward)}",
        "kept" if kept else "dropped",
        f"{advantages[index]:+.2f}" if kept else "",
    ]
    cells = "".join(f"<td {_CELL}>{value}</td>" for value in values)
    return f'<tr style="opacity:{1 if kept else 0.5}">{cells}</tr>'


def _picture(image: Image, width: int) -> str:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, format="PNG")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return (
        f'<img src="data:image/png;base64,{data}" width="{width}" '
        'style="image-rendering:pixelated;border:1px solid #ddd">'
    )


def _mark(reward: RewardBreakdown) -> str:
    return "not scored" if reward.success is None else "✓" if reward.success else "✗"


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:g}"
