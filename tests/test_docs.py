"""The pages: links lead somewhere, paths that are named exist, generated pages are current."""

import re
import subprocess
import sys

import pytest
from paths import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
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


def test_the_reference_of_settings_is_of_this_version():
    command = [sys.executable, "scripts/settings_page.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or "run `python scripts/settings_page.py`"
