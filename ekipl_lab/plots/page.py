"""A small HTML page of tables, figures and text that needs nothing else, offline included."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterable
from functools import lru_cache
from html import escape
from pathlib import Path

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

#: The page may load nothing.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:"
)
_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 84rem; padding: 0 1rem;
  color: #202124; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { text-align: left; padding: .3rem .7rem; border-bottom: 1px solid #e6e8eb;
  vertical-align: top; }
th { font-weight: 600; vertical-align: bottom; }
td { font-variant-numeric: tabular-nums; white-space: nowrap; }
td:last-child { white-space: normal; }
td small { display: block; color: #5f6368; }
p.note { color: #5f6368; }
@media (prefers-color-scheme: dark) {
  body { background: #16181c; color: #e8eaed; }
  th, td { border-color: #33373d; }
  td small, p.note { color: #a8adb3; }
}
"""


def html_page(title: str, parts: Iterable[str | go.Figure]) -> str:
    """The whole page; texts among ``parts`` are HTML already, the title is escaped."""
    shown = [part if isinstance(part, str) else figure_html(part) for part in parts]
    drawn = any('class="plot"' in part for part in shown)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><h1>{escape(title)}</h1>{''.join(shown)}{scripts() if drawn else ''}</body></html>"
    )


def figure_html(figure: go.Figure) -> str:
    """A figure as an empty box and its JSON, which `scripts` draws."""
    data = figure.to_json().replace("<", "\\u003c")
    height = figure.layout.height or 360
    return (
        f'<div class="plot" style="height:{height}px"></div>'
        f'<script type="application/json">{data}</script>'
    )


@lru_cache(maxsize=1)
def scripts() -> str:
    """Plotly (packed: 1.9 instead of 4.8 MB) and what draws a page's figures; ends its body."""
    packed = base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()
    drawing = Path(__file__).with_name("drawing.js").read_text(encoding="utf-8")
    return f'<script type="text/plain" id="plotly">{packed}</script><script>{drawing}</script>'
