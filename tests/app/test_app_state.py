"""Addresses and controls: what an address names is what the page shows, and the other way round."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from app import items, runs, views
from app.state import from_query, to_query
from app.views import live, recorded
from ekipl_lab.errors import ConfigError
from ekipl_lab.tracking import LoggedCheckpoint

ITEM = "mini/counting/test/s0/count_pair/000004"


@pytest.fixture(autouse=True)
def no_runs(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """An empty store."""
    folder = tmp_path_factory.mktemp("store")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")


@pytest.mark.parametrize("text", ["9" * 5000, "9" * 10, "-1", "1e3", "٣", "nan", ""])
def test_what_is_no_number_of_a_state_has_its_default(text: str) -> None:
    """int() of more than 4,300 digits raises, of hundreds fits no column."""
    for kind, name in ((live.State, "draw"), (recorded.State, "step"), (recorded.State, "group")):
        assert from_query(kind, {name: text}) == kind()
        assert from_query(kind, {name: "7"}) != kind()


@pytest.mark.parametrize(
    ("view", "state", "query"),
    [
        ("live", live.State(item=ITEM), f"item={ITEM}"),
        (
            "live",
            live.State(run="ab", checkpoint="start", item=ITEM),
            f"run=ab&checkpoint=start&item={ITEM}",
        ),
        (
            "live",
            live.State(run="ab12", checkpoint="step-50", item=ITEM, family="count_pair", draw=3),
            f"run=ab12&checkpoint=step-50&item={ITEM}&family=count_pair&draw=3",
        ),
        (
            "recorded",
            recorded.State(run="ab12", step=7, group=1),
            "run=ab12&view=recorded&step=7&group=1",
        ),
    ],
)
def test_an_address_holds_the_state(
    view: str, state: live.State | recorded.State, query: str
) -> None:
    assert to_query(view, state) == query
    assert from_query(type(state), dict(parse_qsl(query))) == state


def test_spoilt_numbers_are_ignored() -> None:
    spoilt = {"draw": "-1", "step": "x", "group": "9" * 30, "view": "?"}
    assert from_query(live.State, spoilt) == live.State()
    assert from_query(recorded.State, spoilt) == from_query(recorded.State, {}) == recorded.State()
    assert views.find(spoilt)[0] == "live"


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
    name, opened = views.find({})
    shown = live.load(opened)
    assert (name, opened.run, shown["run"]["value"]) == ("live", "", "")
    assert shown["run"]["choices"] == [("no run yet", "")]
    assert shown["checkpoint"]["choices"] == [("start (step 0), before training", "start")]
    assert shown["number"]["value"] == 6  # compare is the sixth family of the stream
    assert opened.item == "mini/counting/validation/s0/compare/000000"  # what the demo trains on
    assert recorded.load(recorded.complete(recorded.State()))["step"]["value"] is None
    families = shown["family"]["choices"]
    assert families[0] == "all" and "count_pair" in families


def test_recorded_without_any_run_says_what_to_do() -> None:
    (page,) = views.show("view=recorded")
    assert "No run yet" in page and "<pre>make demo</pre>" in page


def act(action: str, **changes: object) -> live.State:
    """Item 4, sampled with draw 2, after an action; ``changes`` are what the controls say."""
    state = live.State(checkpoint="start", item=ITEM, family="count_pair", draw=2)
    shown = {
        "run": "",
        "checkpoint": "start",
        "task": "counting",
        "split": "test",
        "family": "count_pair",
        "number": 5,  # counted from 1, as the page shows it
    }
    return live.act(action, state, shown | changes)


@pytest.mark.parametrize(
    ("action", "number", "draw"),
    [("number", 4, 2), ("next", 5, 0), ("previous", 3, 0), ("again", 4, 3), ("family", 0, 0)],
)
def test_actions_move_the_item(action: str, number: int, draw: int) -> None:
    chosen = act(action)
    assert chosen.item == f"mini/counting/test/s0/count_pair/{number:06d}"
    assert chosen.draw == draw
    assert live.load(chosen)["number"]["value"] == number + 1


def test_previous_stops_at_the_first() -> None:
    first = act("previous", number=1)
    assert first.item.endswith("/000000") and live.load(first)["previous"]["value"] == "First item"
    assert live.load(act("next"))["previous"]["value"] == "← Previous"


def test_a_family_of_another_task_gives_way() -> None:
    assert act("task", family="no_such_family").family == "all"


def test_an_unknown_item_falls_back_to_the_first() -> None:
    assert live.load(live.State(item="nonsense"))["number"]["value"] == 1


def test_start_and_step_0_are_one_thing() -> None:
    fields = [
        ("live", "checkpoint"),
        ("compare", "checkpoint2"),
        ("measured", "against_checkpoint"),
    ]
    for name, field in fields:
        state = from_query(views.VIEWS[name].state, {field: "step-0"})
        assert getattr(state, field) == "start"


def test_a_checkpoint_of_step_0_is_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    saved = {
        f"step-{step}": LoggedCheckpoint(
            f"m{step}", "run", "c", step, {"eval/test/accuracy_greedy": step / 10}, "", True
        )
        for step in (0, 4)
    }
    monkeypatch.setattr(runs, "_checkpoints", lambda run: saved)
    monkeypatch.setattr(runs, "require_run", lambda run: None)
    assert runs.list_checkpoints("run") == ["start", "step-4"]
    assert runs.label_checkpoint("run", "start") == (
        "start (step 0), before training · accuracy 0.00 on test"
    )
    with pytest.raises(ConfigError, match="no checkpoint 'step-9'; it has: start, step-4\\."):
        runs.checkpoint_folder("run", "step-9")


def test_a_view_that_does_not_exist_is_said() -> None:
    (page,) = views.show("view=nonsense&run=x")
    assert "There is no view &#39;nonsense&#39;; choose one of: live, recorded" in page


def test_what_does_not_exist_is_not_shown_as_something_else() -> None:
    shown = live.load(live.State(run="gone", checkpoint="step-9", item=ITEM))
    assert shown["run"]["value"] is None and shown["checkpoint"]["value"] is None
