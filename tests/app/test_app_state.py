"""Addresses and controls: what an address names is what the page shows, and the other way round."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from app import items, rail, show
from app.state import LIVE, RECORDED, Selection, from_query
from ekipl_lab.errors import ConfigError

ITEM = "mini/counting/test/s0/count_pair/000004"


@pytest.fixture(autouse=True)
def no_runs(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """An empty store."""
    folder = tmp_path_factory.mktemp("store")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")


@pytest.mark.parametrize(
    ("selection", "query"),
    [
        (Selection(item=ITEM), f"item={ITEM}"),
        (Selection(run="ab", item=ITEM), f"run=ab&checkpoint=start&item={ITEM}"),
        (
            Selection(run="ab12", checkpoint="step-50", item=ITEM, family="count_pair", draw=3),
            f"run=ab12&checkpoint=step-50&item={ITEM}&family=count_pair&draw=3",
        ),
        (
            Selection(mode=RECORDED, run="ab12", step=7, group=1),
            "run=ab12&view=recorded&step=7&group=1",
        ),
    ],
)
def test_an_address_holds_the_selection(selection: Selection, query: str) -> None:
    assert selection.to_query() == query
    assert from_query(dict(parse_qsl(query)), Selection()) == selection


def test_spoilt_numbers_are_ignored() -> None:
    read = from_query({"draw": "-1", "step": "x", "group": "9" * 30, "view": "?"}, Selection())
    assert read == Selection(mode=LIVE)
    assert from_query({}, Selection(mode=RECORDED)) == Selection(mode=RECORDED)


def test_position_is_the_number_under_the_filter() -> None:
    for family in ("all", "count_pair"):
        for number in (0, 1, 7):
            found = items.item_at("counting", "test", family, number)
            assert items.position_of(found.id, family) == ("counting", "test", family, number)
    caption = "mini/counting/test/s0/caption/000002"
    assert items.position_of(caption, "all") == ("counting", "test", "caption", 2)
    assert items.position_of(ITEM, "remove") == ("counting", "test", "count_pair", 4)
    with pytest.raises(ConfigError, match="no sample id"):
        items.position_of("../../etc/passwd", "all")


def test_the_page_opens_without_any_run() -> None:
    opened = rail.start()
    shown = rail.plan(opened)
    assert (opened.run, shown.run, shown.run_choices) == ("", "", (("no run yet", ""),))
    assert shown.checkpoints == (("start, before training", "start"),)
    assert (shown.steps, shown.number) == ((), 0)
    assert shown.families[0] == "all" and "count_pair" in shown.families


def test_recorded_without_any_run_says_what_to_do() -> None:
    (page,) = show.show("view=recorded")
    assert "No run yet" in page and "<pre>make demo</pre>" in page


def controls(**changes: object) -> rail.Controls:
    base = {
        "mode": LIVE,
        "run": "",
        "checkpoint": "start",
        "task": "counting",
        "split": "test",
        "family": "count_pair",
        "number": 4,
        "draw": 2,
        "step": 0,
        "group": 3,
    }
    return rail.Controls(**(base | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("action", "number", "draw"),
    [("set", 4, 2), ("next", 5, 0), ("previous", 3, 0), ("again", 4, 3), ("place", 0, 0)],
)
def test_actions_move_the_item(action: str, number: int, draw: int) -> None:
    chosen = rail.choose(action, controls())
    assert chosen.item == f"mini/counting/test/s0/count_pair/{number:06d}"
    assert chosen.draw == draw
    assert rail.plan(chosen).number == number


def test_previous_stops_at_the_first() -> None:
    assert rail.choose("previous", controls(number=0)).item.endswith("/000000")


def test_a_family_of_another_task_gives_way() -> None:
    assert rail.choose("place", controls(family="no_such_family")).family == "all"


def test_an_unknown_item_falls_back_to_the_first() -> None:
    assert rail.plan(Selection(item="nonsense")).number == 0
