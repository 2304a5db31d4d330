"""The page in a real, headless Chromium, driven by the DevTools protocol in real time."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import choreographer

#: Names that Chromium goes by.
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
STAGE = "document.querySelector('#stage .sides, #stage .message pre')"


class Chrome:
    """One tab: ``js`` evaluates, ``until`` waits for an expression to be true."""

    def __init__(self, tab: choreographer.Tab) -> None:
        self._tab = tab

    async def send(self, command: str, **params: Any) -> dict[str, Any]:
        """A command of the protocol; its result."""
        answer: dict[str, Any] = await self._tab.send_command(command, params=params)
        assert "error" not in answer, answer
        return dict(answer["result"])

    async def js(self, expression: str) -> Any:
        """The value of an expression in the page."""
        found = await self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, expression: str, seconds: float = 60) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not await self.js(expression):
            assert time.monotonic() < end, f"never true: {expression}"
            await asyncio.sleep(0.02)  # between two looks

    async def open(self, address: str, shown: str = STAGE) -> None:
        """Open an address and wait for what it shows: a part of the page, as an expression."""
        await self.send("Page.navigate", url=address)
        await self.until(f"location.href.startsWith('http') && !!{shown}")

    async def type(self, selector: str, text: str) -> None:
        """Put a text in place of what a box holds, and press Enter."""
        await self.js(f"document.querySelector('{selector}').focus()")
        await self.js(f"document.querySelector('{selector}').select()")
        await self.send("Input.insertText", text=text)
        await self.press("Enter", 13)

    async def press(self, key: str, code: int = 0) -> None:
        """Press and release a key."""
        text = "\r" if key == "Enter" else key
        shared = {"key": key, "windowsVirtualKeyCode": code or ord(key.upper())}
        await self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **shared)
        await self.send("Input.dispatchKeyEvent", type="keyUp", **shared)

    async def size(self, width: int, height: int, scheme: str = "light") -> None:
        """The size of the window in pixels, and whether it is dark."""
        await self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.send("Emulation.setEmulatedMedia", features=features)


@asynccontextmanager
async def chrome(width: int = 1280) -> AsyncIterator[Chrome]:
    """A browser with one tab; closed afterwards."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    async with choreographer.Browser(path, headless=True, enable_sandbox=False) as browser:
        tab = await browser.create_tab("about:blank")
        page = Chrome(tab)
        await page.size(width, 900)
        yield page
