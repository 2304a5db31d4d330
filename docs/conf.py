"""Sphinx's settings of these pages: `make docs`. What it reads in reference/ is written first."""

import re
from pathlib import Path

project = "EKIPL Lab"
author = "The EKIPL Lab authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinxcontrib.mermaid"]
html_theme = "furo"
html_title = project
html_show_copyright = False
exclude_patterns = ["conf.py"]
myst_heading_anchors = 3
myst_fence_as_directive = ["mermaid"]
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 88

DOCS = Path(__file__).resolve().parent
_PAGE = re.compile(r"\]\(([^):#\s]+\.md)\)")


def outer_pages(app, name, source):
    """A Markdown file outside docs/ is a file to download: it is no page of this site."""
    folder = (DOCS / name).parent

    def link(found):
        inside = (folder / found[1]).resolve().is_relative_to(DOCS)
        return found[0] if inside else f"](path:{found[1]})"

    source[0] = _PAGE.sub(link, source[0])


def plain_docstring(app, what, name, thing, options, lines):
    """Docstrings are plain text: layout by spaces is kept, and only ``code`` is markup."""
    made = []
    for paragraph in "\n".join(lines).strip().split("\n\n"):
        rows = paragraph.split("\n")
        if any(row.startswith(" ") or "   " in row.strip() for row in rows):
            made += ["::", "", *(f"    {row}" for row in rows), ""]
        else:
            parts = re.split(r"(``.+?``|`.+?`)", paragraph, flags=re.DOTALL)
            parts[::2] = [re.sub(r"([\\|*_`])", r"\\\1", part) for part in parts[::2]]
            parts[1::2] = [f"``{part.strip('`')}``" for part in parts[1::2]]
            made += ["".join(parts), ""]
    lines[:] = "\n".join(made).split("\n")


def setup(app):
    """Called by Sphinx."""
    app.connect("source-read", outer_pages)
    app.connect("autodoc-process-docstring", plain_docstring)
