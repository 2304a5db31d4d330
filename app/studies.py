"""Studies and reports that lie on disk: ``results/studies/NAME/`` and what `ekipl compare` left."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML

from ekipl_lab import tracking
from ekipl_lab.errors import ConfigError
from ekipl_lab.tracking import store

#: The page of a study, in its folder.
PAGE = "README.md"
_IMAGES = {".svg": "image/svg+xml", ".png": "image/png"}
#: Larger pictures are not put into the page.
_MAX_IMAGE = 5_000_000


@dataclass(frozen=True, slots=True)
class Study:
    """A folder of a study: its name, its page (None until it has one), the records in it."""

    name: str
    page: Path | None
    records: int


def folder() -> Path:
    """Where the records of studies lie."""
    return store.project_root() / "results" / "studies"


def list_studies() -> list[Study]:
    """Every study with a page or records, by name."""
    places = sorted(path for path in folder().glob("*") if path.is_dir())
    found = [
        Study(
            path.name,
            path / PAGE if (path / PAGE).is_file() else None,
            sum(1 for _ in path.rglob("*.json")),
        )
        for path in places
    ]
    return [study for study in found if study.page is not None or study.records]


def answer(name: str) -> str:
    """The page of a study as HTML; raw HTML in it stays text, and nothing is loaded.

    Raises ConfigError for no such study; empty where the study has no page yet.
    """
    study = next((one for one in list_studies() if one.name == name), None)
    if study is None:
        raise ConfigError(f"There is no study {name!r}; choose one from the list.")
    if study.page is None:
        return ""
    text = study.page.read_text(encoding="utf-8")
    return str(_markdown(study.page.parent).render(text))


def report_file() -> Path:
    """The page that `ekipl compare` and `ekipl report` write by default."""
    return tracking.store_folder() / "report.html"


def teachers_file() -> Path:
    """The page that `ekipl teach report` writes by default."""
    return tracking.store_folder() / "teachers.html"


def _markdown(place: Path) -> MarkdownIt:
    """A reader of Markdown without HTML; pictures of the study's folder are put into the page."""
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")

    def image(self: RendererHTML, tokens: Any, index: int, options: Any, env: Any) -> str:
        token = tokens[index]
        path = (place / str(token.attrGet("src") or "")).resolve()
        inside = path.is_relative_to(place.resolve()) and path.is_file()
        if not inside or path.suffix not in _IMAGES or path.stat().st_size > _MAX_IMAGE:
            return "<em>a picture that is not in the study's folder</em>"
        data = base64.b64encode(path.read_bytes()).decode()
        token.attrSet("src", f"data:{_IMAGES[path.suffix]};base64,{data}")
        return RendererHTML.image(self, tokens, index, options, env)

    def table(self: RendererHTML, tokens: Any, index: int, options: Any, env: Any) -> str:
        above = (i for i in range(index, -1, -1) if tokens[i].type == "heading_open")
        heading = next(above, None)
        name = escape("Table" if heading is None else tokens[heading + 1].content, quote=True)
        return f'<div class="scroll" tabindex="0" role="region" aria-label="{name}"><table>'

    def end(self: RendererHTML, tokens: Any, index: int, options: Any, env: Any) -> str:
        return "</table></div>"

    for name, rule in (("image", image), ("table_open", table), ("table_close", end)):
        reader.add_render_rule(name, rule)
    return reader
