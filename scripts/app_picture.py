#!/usr/bin/env python3
"""Draw docs/images/app.png: the app's opening page on the store of today, in headless Chromium.

    make demo && python scripts/app_picture.py

The page opens on a group in which a teacher's right action was kept where the policy failed; a
store without one is refused. Needs Chromium and the developers' extras.
"""

from __future__ import annotations

import asyncio
import base64
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests/kit")]

from chrome_kit import chrome  # noqa: E402
from page_kit import served  # noqa: E402

from app import recorded_groups  # noqa: E402

OUT = ROOT / "docs" / "images" / "app.png"
WIDTH, HEIGHT = 1280, 1420


async def shoot(address: str) -> bytes:
    """The upper part of the page as PNG."""
    async with chrome(WIDTH) as tab:
        await tab.size(WIDTH, HEIGHT)
        await tab.send("Emulation.setScrollbarsHidden", hidden=True)
        await tab.open(f"{address}/?view=recorded", "document.getElementById('copy')")
        shot = await tab.send("Page.captureScreenshot", format="png")
        return base64.b64decode(shot["data"])


def main() -> int:
    """Draw it; 1 where the store has nothing that shows something."""
    run = recorded_groups.opening_run()
    if not any(mark.taught for mark in recorded_groups.list_marks(run)):
        print("No recorded group has a teacher's action kept where the policy failed: make demo")
        return 1
    with served() as address:
        OUT.write_bytes(asyncio.run(shoot(address)))
    print(OUT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
