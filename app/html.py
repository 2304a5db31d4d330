"""Values as HTML.

Every text that a model made passes jinja2's autoescape; nothing here is Markdown, and the HTML is
handed to ``gr.HTML`` as a value, never as a template (a template would evaluate ``${...}``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from PIL.Image import Image, Resampling, frombytes

from app.chains import pieces
from app.columns import Column, rows_of
from app.completion import MAX_SHOWN
from app.curves import RunRow
from app.group import GroupView
from app.notation import Notation, has_grid
from app.strips import Place
from app.votes import TAGS, Agreement, WinRate
from app.whatif import PROBABILITIES, Outcome, Pull
from ekipl_lab.benchmarks.mini.grid import CELLS
from ekipl_lab.images import png_uri
from ekipl_lab.plots.figures import source_colours
from ekipl_lab.types import POLICY, Sample

#: Up to this side (pixels) a picture that is enlarged keeps its pixels' edges; a photo is smooth.
SHARP = 300
#: The most pixels of a picture whose PNG is kept; 64 of them are.
MAX_KEPT = 1 << 18

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


def text_color(background: str) -> str:
    """Black or white, whichever is easier to read on a colour ``#rrggbb``."""
    parts = [int(background[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    luminance = sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    # Contrast is (lighter + 0.05) / (darker + 0.05); both are equal at sqrt(1.05 * 0.05) - 0.05.
    return "#000000" if luminance > (1.05 * 0.05) ** 0.5 - 0.05 else "#ffffff"


_TEMPLATES.filters |= {"dollars": dollars, "pieces": pieces, "text_color": text_color}


@dataclass(frozen=True, slots=True)
class Other:
    """What other rules would have kept with this baseline and spread, and what weightings pull.

    The first outcome is the group as it is; ``weighting`` is the one that the run had.
    """

    baseline: str
    scale: str
    outcomes: Sequence[Outcome]
    weighting: str
    pulls: Sequence[Pull]


def render_page(
    sample: Sample,
    large: Sequence[Image] = (),
    group: GroupView | None = None,
    *,
    note: str = "",
    message: str = "",
    live_query: str = "",
    place: Place | None = None,
    no_picture: str = "",
    notation: Notation | None = None,
    other: Other | None = None,
) -> str:
    """HTML of the stage: image(s), question and answer; then the group, or a message for it.

    ``large`` are the same scenes drawn for a person; without them the model's own pixels are
    enlarged. ``message`` is HTML of ``render_message``; ``live_query`` the address of the same
    item sampled now; ``no_picture`` says why there is none.
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
        no_picture=no_picture,
    )
    parts = [
        _render("place.html", place=place) if place else "",
        head,
        _render("notation.html", notation=notation, folded=False) if notation else "",
        _render("group.html", group=group) if group else "",
        _render("other.html", other=other, group=group, probabilities=PROBABILITIES)
        if other
        else "",
    ]
    return "".join(parts)


def render_notation(notation: Notation | None) -> str:
    """HTML of how to read chains, folded; empty for None."""
    return _render("notation.html", notation=notation, folded=True) if notation else ""


def render_columns(columns: Sequence[Column]) -> str:
    """HTML of several sources side by side, their steps aligned."""
    return _render("columns.html", columns=columns, rows=rows_of(columns))


def render_growing(texts: Sequence[str], teachers: Sequence[str]) -> str:
    """HTML of the policy's chains while they are sampled, equal ones as one; who is asked next."""
    chains = list(Counter(text[-MAX_SHOWN:] for text in texts).items())
    color = source_colours([POLICY])[POLICY]
    return _render("growing.html", chains=chains, teachers=teachers, color=color)


def render_measured(**values: Any) -> str:
    """HTML of an evaluation: its counts and an overview of its items (measured.html)."""
    return _render("measured.html", **values)


def render_history(entries: Sequence[Mapping[str, Any]], links: Sequence[tuple[str, str]]) -> str:
    """HTML of one item at every checkpoint, and (text, address) of where to go on from it."""
    return _render("history.html", entries=entries, links=links)


def render_message(title: str, text: str, command: str = "", *, busy: bool = False) -> str:
    """HTML of one friendly or one warning sentence, and what to type; ``busy`` while one waits."""
    return _render("message.html", title=title, text=text, command=command, busy=busy)


def render_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """HTML of a table under a heading; every cell is text."""
    return _render("table.html", title=title, headings=headings, rows=rows)


def render_runs(
    rows: Sequence[RunRow], figures: Iterable[str], *, chosen: str, refresh: int
) -> str:
    """HTML of runs as a table, their figures (SVG of ours) and the group doctor's words.

    ``refresh`` in seconds, 0 for never: how often the page draws itself anew.
    """
    drawn = [Markup(figure) for figure in figures]
    return _render("runs.html", rows=rows, figures=drawn, chosen=chosen, refresh=refresh)


def render_sides(sides: Sequence[Mapping[str, Any]], votes: Mapping[str, str]) -> str:
    """HTML of two chains without the names of who wrote them.

    ``votes`` are actions and their words, for a page whose controls are folded away.
    """
    return _render("sides.html", sides=sides, votes=votes)


def render_parts(title: str, *parts: str) -> str:
    """HTML of a heading, tables (`ekipl_lab.tables`) and figures (`plots.svg`), which escape."""
    return _render("parts.html", title=title, parts=[Markup(part) for part in parts if part])


def render_bundle(pages: Sequence[tuple[str, str]], style: str) -> str:
    """One whole HTML file of (title, HTML of ours) pages; it may load and run nothing."""
    parts = [(title, Markup(page)) for title, page in pages]
    return _render("bundle.html", pages=parts, style=Markup(style))


def render_study(page: str, *, has_report: bool) -> str:
    """HTML of a study's page (HTML already) and a link to the report, if there is one."""
    return _render("study.html", page=Markup(page), has_report=has_report)


def render_save(query: str) -> str:
    """A link that saves what an address shows as one file."""
    return _render("save.html", query=query)


def render_results(
    rates: Sequence[WinRate],
    agreement: Sequence[Agreement],
    tags: Mapping[str, Mapping[str, int]],
    *,
    count: int,
    named: Callable[[str], str],
) -> str:
    """HTML of what the votes say, folded away; ``named`` gives a source's name for people."""
    return _render(
        "results.html",
        rates=rates,
        agreement=agreement,
        tags=tags,
        words=TAGS,
        count=count,
        named=named,
    )


def _render(template: str, **values: Any) -> str:
    return _TEMPLATES.get_template(template).render(**values)


def _picture(image: Image, large: Image) -> dict[str, Any]:
    return {
        "shown": _uri(large),
        "seen": _uri(image),
        "size": f"{image.width} × {image.height}",
        "grid": large.size == image.size and max(image.size) <= SHARP,
    }


def _uri(image: Image) -> str:
    """The picture as a data URI; that of a small one is kept for the next click beside it."""
    if image.mode != "RGB" or image.width * image.height > MAX_KEPT:
        return png_uri(_fit(image))
    return _uri_of(image.size, image.tobytes())


@lru_cache(maxsize=64)
def _uri_of(size: tuple[int, int], pixels: bytes) -> str:
    return png_uri(frombytes("RGB", size, pixels))


def _fit(image: Image, limit: int = 1024) -> Image:
    """Very large images smaller, so that a page stays light; small ones as they are."""
    if max(image.size) <= limit:
        return image
    copy = image.copy()
    copy.thumbnail((limit, limit), Resampling.LANCZOS)
    return copy


def _cells(sample: Sample) -> tuple[str, ...]:
    """Names of the 4 x 4 cells that chains of the sample's task speak of, row by row."""
    return tuple(f"p{n}" for n in CELLS) if has_grid(sample) else ()
