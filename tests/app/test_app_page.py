"""The page in a real browser: quick clicks, Back and Forward, typing, keys, and how it looks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_kit import violations
from chrome_kit import Chrome, chrome
from page_kit import served
from synthetic_runs import make_run

from app import recorded_groups, runs

AUDIT = (Path(__file__).parents[1] / "kit" / "page_audit.js").read_text(encoding="utf-8")
_SLASH = "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: '/', bubbles: true}))"
#: The box of a view that looks for words is there.
MEASURED = "document.querySelector('#measured-words :is(input, textarea)')"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address of the page over a store with two runs; the id of the one with teachers."""
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        run = make_run("taught", gain=0.4, teachers=("careful", "hostile"), work=folder, items=2)
        make_run("alone", gain=0.4, work=folder, steps=3, items=2)
        with served() as address:
            yield address, run


def test_nothing_that_a_reader_does_is_lost(page: tuple[str, str]) -> None:
    asyncio.run(_hands(*page))


async def _hands(address: str, run: str) -> None:
    async with chrome() as tab:
        await tab.open(f"{address}/?run={run}&view=recorded&step=2")
        await _at(tab, "Step 2, group 1 of 2.")
        before = await tab.js("history.length")
        await tab.js("for (let i = 0; i < 6; i++) document.getElementById('recorded-next').click()")
        await _at(tab, "Step 5, group 1 of 2.")  # two groups a step: six on
        assert await tab.js("history.length") == before + 6
        await tab.js("history.back()")
        await _at(tab, "Step 4, group 2 of 2.")
        await tab.js("history.go(-5)")
        await _at(tab, "Step 2, group 1 of 2.")
        await tab.js("history.forward()")
        await _at(tab, "Step 2, group 2 of 2.")
        assert await tab.js("location.search") == f"?run={run}&view=recorded&step=2&group=1"

        await tab.type("#recorded-step input", "7")
        await _at(tab, "Step 7, group 2 of 2.")
        await tab.js("document.activeElement.blur()")
        await tab.press("n")
        await _at(tab, "Step 8, group 1 of 2.")
        for _ in range(3):  # over the end
            await tab.press("n")
        await _at(tab, "Step 8, group 2 of 2. The last recorded group.")
        await tab.until("document.getElementById('recorded-next').innerText.includes('Last group')")
        await tab.until("document.getElementById('said').textContent.includes('The last')")
        await tab.press("r")
        await tab.until("[...document.querySelectorAll('details.raw')].every(d => d.open)")
        await tab.press("/")
        await tab.until("document.activeElement.closest('#recorded-search') !== null")
        await tab.js("document.activeElement.blur()")
        await tab.js(f"ekipl.act('recorded', 'step', 8); {_SLASH}")  # before the server's answer
        await tab.until("document.activeElement.closest('#recorded-search') !== null")

        await tab.js("document.querySelector('.bar').click()")
        await _at(tab, "Step 1, group 1 of 2. The first recorded group.")
        await tab.js("document.querySelector('button.zoom').click()")
        assert await tab.js("document.getElementById('zoom').open")
        await tab.js("document.querySelector('#zoom button').click()")
        await tab.until("new URLSearchParams(location.search).get('step') === '1'")
        await _copied(tab)
        await _refused(tab)
        await _another_run(tab)
        await _from_a_curve(tab, f"{address}/?run={run}&view=runs&panel=diagnostics")
        await tab.open(f"{address}/?run={run}&view=measured", MEASURED)
        await tab.press("/")
        await tab.until("document.activeElement.closest('#measured-words') !== null")


async def _from_a_curve(tab: Chrome, address: str) -> None:
    """Two clicks: a curve at the right end, then another group of that step."""
    await tab.open(address, "document.querySelector('.plot a')")
    await tab.js(
        "(() => { const box = document.querySelector('.plot svg').getBoundingClientRect(); "
        "document.elementFromPoint(box.right - 25, box.top + box.height / 2)"
        ".dispatchEvent(new MouseEvent('click', {bubbles: true, cancelable: true})) })()"
    )
    await _at(tab, "Step 8, group 1 of 2.")
    await tab.js("document.getElementById('square-2').click()")
    await _at(tab, "Step 8, group 2 of 2. The last recorded group.")


#: Keeps every toast: one leaves by itself, and a busy machine may look too late.
_TOASTS = (
    "window.toasts = []; new MutationObserver(() => document.querySelectorAll('.toast-body')"
    ".forEach(t => toasts.push([t.textContent, t.querySelectorAll('img').length])))"
    ".observe(document.body, {childList: true, subtree: true, characterData: true})"
)


async def _refused(tab: Chrome) -> None:
    """What no control can send is one sentence of text, and the page goes on."""
    await tab.js(_TOASTS)
    await tab.js("ekipl.act('recorded', 'step', '<img src=x onerror=alert(1)>')")
    await tab.until("toasts.some(([text]) => text.includes('does not take'))")
    assert await tab.js("toasts.every(([, images]) => images === 0)")
    await tab.js("document.querySelector('.toast-close')?.click()")
    await tab.js("ekipl.act('recorded', 'step', 3)")
    await _at(tab, "Step 3, group 1 of 2.")
    await tab.until("document.querySelector('.toast-body') === null")


# An answer of the server that comes late, and what the button says after it.
_ANSWERED = (
    "(ekipl.done(JSON.stringify({{view: 'recorded', addresses: [{}], whole: true}})), "
    "document.getElementById('share').textContent)"
)


async def _copied(tab: Chrome) -> None:
    """The address is on the clipboard; where the browser forbids that, it is shown, selected."""
    await tab.js("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    await tab.js("document.getElementById('share').click()")
    await tab.until("window.copied === location.href")
    await tab.until("document.getElementById('share').textContent === 'Copied'")
    assert await tab.js(_ANSWERED.format("location.search.slice(1)")) == "Copied"
    assert await tab.js(_ANSWERED.format("location.search.slice(1) + '&more=1'")) == "Copy link"
    await tab.js("history.replaceState(null, '', window.copied)")
    await tab.js("navigator.clipboard.writeText = () => Promise.reject(new Error('forbidden'))")
    await tab.js("document.getElementById('copy').click()")
    await tab.until("document.getElementById('link').open")
    assert await tab.js("getSelection().toString() === location.href")
    await tab.js("document.querySelector('#link button').click()")
    assert not await tab.js("document.getElementById('link').open")


async def _another_run(tab: Chrome) -> None:
    """Choosing another run shows it, and complains of nothing."""
    await tab.js("document.querySelector('#recorded-run input').focus()")
    await tab.until("document.querySelectorAll('[role=option]').length == 2")
    await tab.js(
        "[...document.querySelectorAll('[role=option]')].find(o => o.innerText.includes('alone'))"
        ".dispatchEvent(new MouseEvent('mousedown', {bubbles: true}))"
    )
    await tab.until("document.querySelector('.side.teachers .none') !== null")
    assert await tab.js("document.querySelectorAll('.toast-wrap .toast-body').length") == 0


async def _at(tab: Chrome, where: str) -> None:
    await tab.until(f"document.querySelector('#stage .where')?.textContent == {where!r}")


def test_it_opens_on_a_group_in_which_a_teacher_was_kept_where_the_policy_failed(
    page: tuple[str, str],
) -> None:
    run = page[1]
    assert runs.latest() != run == recorded_groups.opening_run()
    step, number = recorded_groups.opening_group(run)
    group = recorded_groups.load_recorded(run, step, number)
    own = [
        reward.success
        for action, reward in zip(group.candidates, group.rewards, strict=True)
        if action.source == "policy"
    ]
    assert not any(own)
    assert any(group.candidates[i].source == "careful" for i in group.kept)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_names_contrast_and_width(page: tuple[str, str], scheme: str) -> None:
    async def audit() -> None:
        async with chrome() as tab:
            for width in (1280, 400):
                await tab.size(width, 900, scheme)
                await tab.open(page[0])
                assert await tab.js("document.body.classList.contains('dark')") == (
                    scheme == "dark"
                )
                assert await tab.js(AUDIT) == [], (width, scheme)
                assert await violations(tab) == [], (width, scheme)
            await _folded(tab)

    asyncio.run(audit())


async def _folded(tab: Chrome) -> None:
    """On a narrow page the controls are folded away, and teachers stand among policy cards."""
    hidden = "document.querySelector('#recorded-step').offsetParent === null"
    assert await tab.js(hidden)
    await tab.js("document.getElementById('fold').click()")
    assert not await tab.js(hidden)
    await tab.js("document.getElementById('fold').click()")
    await tab.press("/")  # unfolds
    await tab.until("document.activeElement.closest('#recorded-search') !== null")
    assert not await tab.js(hidden)
    await tab.js("scrollTo(0, 600)")
    await tab.until("document.getElementById('fold').getBoundingClientRect().top > 0")  # it stays
    await tab.js("document.querySelector('.square:not(.here)').click()")
    await tab.until(hidden)  # whoever follows a link sees the page, not the controls
    places = await tab.js(
        "[...document.querySelectorAll('.card')].sort((a, b) => a.getBoundingClientRect().top - "
        "b.getBoundingClientRect().top).map(c => Number(c.style.getPropertyValue('--place')))"
    )
    assert places == sorted(places)
