"""Values as HTML.

Every text that a model made passes jinja2's autoescape; nothing here is Markdown, and the HTML is
handed to ``gr.HTML`` as a value, never as a template (a template would evaluate ``${...}``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from PIL.Image import Image, Resampling

from app.chains import pieces
from app.columns import Column, rows_of
from app.group import GroupView
from ekipl_lab.images import png_uri
from ekipl_lab.types import Sample

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def dollars(amount: float) -> str:
    """``0.00045 USD``: no figure that a price needs is rounded away, and no exponent."""
    return f"{amount:.6f}".rstrip("0").rstrip(".") + " USD"


_TEMPLATES.filters |= {"dollars": dollars, "pieces": pieces}


def render_page(
    sample: Sample,
    large: Sequence[Image] = (),
    group: GroupView | None = None,
    *,
    note: str = "",
    message: str = "",
    live_query: str = "",
) -> str:
    """HTML of the stage: image(s), question and answer; then the group, or a message for it.

    ``large`` are the same scenes drawn for a person; without them the model's own pixels are
    enlarged. ``message`` is HTML of ``render_message``; ``live_query`` the address of the same
    item sampled now.
    """
    below = _render("pool.html", group=group, note=note) if group else ""
    drawn = [*large, *sample.images[len(large) :]]
    pairs = [_picture(image, fine) for image, fine in zip(sample.images, drawn, strict=True)]
    head = _render(
        "sample.html",
        sample=sample,
        pairs=pairs,
        labels=("before", "after") if len(pairs) == 2 else ("",) * len(pairs),
        cells=_cells(sample),
        below=Markup(below or message),
        live_query=live_query,
    )
    return head + (_render("group.html", group=group) if group else "")


def render_columns(columns: Sequence[Column]) -> str:
    """HTML of several sources side by side, their steps aligned."""
    return _render("columns.html", columns=columns, rows=rows_of(columns))


def render_measured(**values: Any) -> str:
    """HTML of an evaluation: its counts and an overview of its items (measured.html)."""
    return _render("measured.html", **values)


def render_history(entries: Sequence[Mapping[str, Any]], compare: str) -> str:
    """HTML of one item at every checkpoint, and the address where it is compared."""
    return _render("history.html", entries=entries, compare=compare)


def render_message(title: str, text: str, command: str = "") -> str:
    """HTML of one friendly or one warning sentence, and what to type."""
    return _render("message.html", title=title, text=text, command=command)


def render_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """HTML of a table under a heading; every cell is text."""
    return _render("table.html", title=title, headings=headings, rows=rows)


def _render(template: str, **values: Any) -> str:
    return _TEMPLATES.get_template(template).render(**values)


def _picture(image: Image, large: Image) -> dict[str, Any]:
    return {
        "shown": png_uri(_fit(large)),
        "seen": png_uri(_fit(image)),
        "size": f"{image.width} × {image.height}",
        "redrawn": large.size != image.size,
    }


def _fit(image: Image, limit: int = 1024) -> Image:
    """Very large images smaller, so that a page stays light; small ones as they are."""
    if max(image.size) <= limit:
        return image
    copy = image.copy()
    copy.thumbnail((limit, limit), Resampling.LANCZOS)
    return copy


def _cells(sample: Sample) -> tuple[str, ...]:
    """Names of the 4 x 4 cells that chains of the counting task speak of, row by row."""
    is_grid = sample.metadata.get("benchmark") == "mini" and sample.task == "counting"
    return tuple(f"p{n}" for n in range(1, 17)) if is_grid else ()
