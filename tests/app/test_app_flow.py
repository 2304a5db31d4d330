"""From a prompt that one policy gets right and another does not to what it learned from."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_kit import violations
from chrome_kit import chrome
from page_kit import Browser, served
from synthetic_runs import make_run

from app import recorded_groups
from ekipl_lab.types import POLICY

AUDIT = (Path(__file__).parents[1] / "kit" / "page_audit.js").read_text(encoding="utf-8")
#: Nothing is loaded, sampled or asked any more.
#: No message but the question of the judge's page, and nothing that is being sampled.
FINISHED = (
    "[...document.querySelectorAll('#stage .message h2')]"
    ".every(title => title.textContent === 'Which chain is better?')"
    " && !document.querySelector('#stage :is(.growing, .waiting)')"
)
TAUGHT = re.compile(r'href="\?([^"]*)">\d+ groups? in which a teacher taught')


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, str]]:
    """Address of the page; ids of a run without teachers and of one that they taught."""
    folder = tmp_path_factory.mktemp("flow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        grpo = make_run("grpo", gain=0.1, work=folder, items=24)
        ekipl = make_run("ekipl", gain=0.4, teachers=("careful", "hostile"), work=folder, items=24)
        with served() as address:
            yield address, grpo, ekipl


def test_a_gained_prompt_leads_to_the_teacher_that_taught_it(store: tuple[str, str, str]) -> None:
    address, grpo, ekipl = store
    page = Browser(address, "view=measured")
    page.act("measured-run", "input", ekipl)
    page.act("measured-against", "input", grpo)
    shown = re.search(r'<a href="\?([^"]*)" title="right here, wrong there"', page.stage)
    assert shown is not None  # the count of gained items is a link to them
    page.send({"query": html.unescape(shown[1])})
    assert page["measured-keep"]["value"] == "gained"
    items = re.findall(r'<a class="right gained[^"]*" href="\?([^"]*)"', page.stage)
    assert items
    for item in items:
        page.send({"query": html.unescape(item)})
        assert page.stage.index("✓ right") < page.stage.index("✗ wrong")  # EKIPL's, then GRPO's
        if found := TAUGHT.search(page.stage):
            break
    assert found is not None, "no gained item of a family that a teacher taught"
    page.send({"query": html.unescape(found[1])})
    query = dict(pair.split("=") for pair in page.query.split("&"))
    group = recorded_groups.load_recorded(ekipl, int(query["step"]), int(query.get("group", 0)))
    pairs = list(zip(group.candidates, group.rewards, strict=True))
    assert not any(reward.success for action, reward in pairs if action.source == POLICY)
    taught = [pairs[i] for i in group.kept if pairs[i][0].source != POLICY and pairs[i][1].success]
    assert taught and f'<span class="source">{taught[0][0].source}</span>' in page.stage
    assert query["keep"] == "taught" and group.sample.family in page.stage
    colleague = Browser(address, page.query)  # the address is all that is sent
    assert colleague.stage == page.stage


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_has_names_contrast_and_fits(store: tuple[str, str, str], scheme: str) -> None:
    address, grpo, ekipl = store
    pair = f"run={ekipl}&against={grpo}"
    views = (
        f"view=recorded&run={ekipl}",
        f"view=compare&run={ekipl}&run2={grpo}&how=stored&teachers=none",
        f"view=measured&{pair}&keep=gained",
        f"view=runs&run={ekipl}&panel=sources",
        f"view=runs&run={ekipl}&panel=diagnostics",
        f"view=teachers&run={ekipl}",
        "view=studies",
        f"view=live&run={ekipl}&checkpoint=start",
        f"view=compare&run={ekipl}&run2=none&checkpoint=start",
        f"view=judge&{pair}",
    )

    async def audit() -> None:
        async with chrome() as tab:
            for width in (1280, 400):
                await tab.size(width, 900, scheme)
                for view in views:
                    await tab.open(f"{address}/?{view}", "document.getElementById('copy')")
                    await tab.until(FINISHED)
                    assert await tab.js(AUDIT) == [], (view, width, scheme)
                    assert await violations(tab) == [], (view, width, scheme)
                    wide = "document.documentElement.scrollWidth"
                    assert await tab.js(wide) <= width, (view, width)

    asyncio.run(audit())
