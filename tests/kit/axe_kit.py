"""What axe-core finds on an open page; its script comes with the package axe-core-python."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from chrome_kit import Chrome

SCRIPT = (files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")
_RUN = """axe.run(document, {resultTypes: ['violations']}).then(found => found.violations.map(
  one => `${one.impact}: ${one.id}: ` + one.nodes.slice(0, 3).map(n => n.html.slice(0, 90))))"""


async def violations(tab: Chrome) -> list[Any]:
    """Each broken rule with its impact and up to three of the elements that break it."""
    await tab.js(f"{SCRIPT}; 0")
    found: list[Any] = await tab.js(_RUN)
    return found
