"""A small HTML page of tables, figures and text that needs nothing else, offline included."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

import plotly.graph_objects as go

#: The page may load nothing.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:"
)
_STYLE = """
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
"""


def html_page(title: str, parts: Iterable[str | go.Figure]) -> str:
    """The whole page; texts among ``parts`` are HTML already, the title is escaped."""
    body, drawn = [], False
    for part in parts:
        if isinstance(part, str):
            body.append(part)
        else:
            body.append(part.to_html(full_html=False, include_plotlyjs=not drawn))
            drawn = True
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><h1>{escape(title)}</h1>{''.join(body)}</body></html>"
    )
