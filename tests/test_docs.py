"""The pages: links lead somewhere, paths that are named exist, generated pages are current."""

import re

import pytest
from paths import ROOT

from ekipl_lab import _HOME
from scripts import docs, settings_page

DOCS = ROOT / "docs"
PAGES = sorted(
    [*ROOT.glob("*.md"), *(p for p in DOCS.rglob("*.md") if docs.REFERENCE not in p.parents)]
)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
ANCHOR = re.compile(r"\]\(([^)#\s]*)#([^)]+)\)")
PATH = re.compile(
    r"`((?:ekipl_lab|tests|perf|scripts|configs|app|notebooks|assets|results)/[\w./-]+)`"
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_paths_of_a_page_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    links = [link for link in LINK.findall(text) if "://" not in link]
    missing = [link for link in links if not (page.parent / link).exists()]
    if page.parent.name != "extend":  # recipes name files that are still to be written
        missing += [path for path in PATH.findall(text) if not (ROOT / path).exists()]
    assert not missing


def anchors(page):
    """What GitHub and the built pages call the headings of a page."""
    lines = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ +(.*)$", lines, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_anchor_is_a_heading():
    wrong = []
    for page in PAGES:
        for link, anchor in ANCHOR.findall(page.read_text(encoding="utf-8")):
            target = (page.parent / link) if link else page
            if "://" not in link and target.suffix == ".md" and anchor not in anchors(target):
                wrong.append(f"{page.name}: {link}#{anchor}")
    assert not wrong


def test_the_navigation_lists_every_page_once():
    text = (DOCS / "index.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```\{toctree\}\n(.*?)```", text, re.DOTALL)
    pages = [p.relative_to(DOCS).with_suffix("").as_posix() for p in PAGES if DOCS in p.parents]
    names = [
        line for block in blocks for line in block.splitlines() if re.fullmatch(r"[\w/]+", line)
    ]
    assert sorted(names) == sorted([*(set(pages) - {"index"}), "reference/cli", "reference/index"])


def test_every_room_and_every_name_of_the_face_has_a_reference():
    rooms = {path.parent.name for path in (ROOT / "ekipl_lab").glob("*/__init__.py")}
    assert rooms - {"commands"} == set(docs.API) - {"core"}
    page = docs.face_page()
    assert all(f"ekipl_lab.{module}.{name}\n" in page for name, module in _HOME.items())


@pytest.mark.slow
def test_the_pages_are_built_without_a_warning(tmp_path):
    docs.write_reference()
    assert docs.build(tmp_path) == 0
    for name in ("index", "tutorial", "reference/face", "reference/cli"):
        assert (tmp_path / f"{name}.html").is_file()


def test_the_reference_of_settings_is_of_this_version():
    found = settings_page.PAGE.read_text(encoding="utf-8")
    assert found == settings_page.page(), "run `python scripts/settings_page.py`"
