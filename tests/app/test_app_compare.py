"""Policies side by side: live, stored, with teachers, on a picture of one's own; columns stream."""

from __future__ import annotations

import base64
import io
import math
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
from page_kit import Browser, served
from PIL import Image
from synthetic_runs import make_run

from app import live, streaming, views
from app.state import START, from_query, to_query
from app.turns import Turns
from app.views import compare
from app.views import live as live_view
from app.views.compare import State
from ekipl_lab.policies import build_tiny_policy, save_policy
from ekipl_lab.training.config.run_config import parse_config
from ekipl_lab.types import Action

ITEM = "mini/counting/test/s0/count_pair/000000"
ALONE = State(checkpoint=START, run2="none", item=ITEM)


def picture() -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (90, 60), (200, 30, 30)).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A run with stored evaluations, and a demo setting of a tiny policy with two teachers."""
    folder = tmp_path_factory.mktemp("compare")
    policy = save_policy(*build_tiny_policy("nano", 0), folder / "policy", dtype="float32")
    config = {
        "name": "demo",
        "policy": {"path": str(policy)},
        "teachers": [
            {"type": "oracle", "id": "careful"},
            {"type": "oracle", "id": "sloppy", "accuracy": 0.0, "fault_mode": "wrong_chain"},
        ],
        "grpo": {"num_generations": 2, "per_device_train_batch_size": 2,
                 "max_completion_length": 24},
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        demo = folder / "demo.yaml"
        demo.write_text(parse_config(config).model_dump_json(), encoding="utf-8")
        patch.setattr(live, "DEMO_CONFIG", demo)
        yield make_run("arm", gain=0.6, steps=1, items=2, work=folder)


def pages(state: State) -> list[str]:
    return list(views.show(to_query("compare", state)))


def test_columns_come_one_by_one(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "EVERY", math.inf)  # whole columns alone
    state = replace(ALONE, run="none", run2="", teachers="demo")
    shown = list(compare.show(replace(state, run2="", checkpoint2=START)))
    assert [page.count("not there yet") + page.count("not asked yet") for page in shown] == [
        3, 2, 1, 0,
    ]  # fmt: skip
    busy = ['aria-busy="true"' in page for page in shown]  # what *Stop* then says is stopped
    assert busy == [True, True, True, False]
    last = shown[-1]
    assert "careful" in last and "sloppy" in last and "not true" in last
    assert shown == list(compare.show(replace(state, run2="", checkpoint2=START)))  # again


def test_a_chain_grows_in_its_column(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "EVERY", 0.0)
    state = replace(ALONE, run="none", run2="", checkpoint2=START, teachers="none", how="sampled")
    shown = compare.show(state)
    *growing, last = (re.findall(r'<tr class="waiting">.*?</tr>', page, re.S) for page in shown)
    texts = [re.findall(r"<td[^>]*>(.*) …</td>", row[0], re.S)[0] for row in growing]
    assert len(texts) >= 2 and last == []
    assert all(after.startswith(text) for text, after in pairwise(texts[1:]))


def test_all_policies_grow_at_once() -> None:
    together = threading.Barrier(2)

    def job(name: str, say: Callable[[str], None]) -> str:
        say(name)
        together.wait(30)  # one after the other would never end
        return name.upper()

    jobs = [partial(job, name) for name in ("a", "b")]
    last: dict[int, object] = {}
    for news in streaming.follow_all(jobs):
        last |= news
    assert last == {0: streaming.Done("A"), 1: streaming.Done("B")}


def test_who_gives_way_stands_behind_all_who_wait() -> None:
    turns, order = Turns(), list[str]()

    def other() -> None:
        with turns:
            order.append("other")

    waiting = threading.Thread(target=other)
    with turns:
        waiting.start()
        while len(turns._line) < 2:  # until it stands in line
            pass
        turns.give_way()
        order.append("first")
    waiting.join(30)
    assert order == ["other", "first"]


def test_a_live_group_grows_before_it_is_judged(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "EVERY", 0.0)
    shown = list(live_view.show(live_view.State(checkpoint=START, item=ITEM)))
    growing = [page for page in shown if 'class="card growing"' in page]
    texts = [re.findall(r"<p>(.*?)(?: …)?</p>\s*</article>", page, re.S) for page in growing]
    times = [[int(n) for n in re.findall(r"× (\d+)", page)] for page in growing]
    assert len(growing) >= 2 and all(1 <= len(chains) <= 2 for chains in texts)
    assert all(len(chains) == 2 or many == [2] for chains, many in zip(texts, times, strict=True))
    assert all(after[0].startswith(before[0]) for before, after in pairwise(texts))
    assert "Asked next: careful, sloppy" in growing[0]
    assert growing[-1] is not shown[-1] and 'class="pool"' in shown[-1]


def test_who_leaves_ends_the_sampling(run: str) -> None:
    from ekipl_lab import benchmarks

    setup, sample = live.setup_of("", START), benchmarks.load_sample(ITEM)
    whole = live.sample_once(setup, sample, 0, greedy=False)
    ended, heard = threading.Event(), list[str]()

    def job(on_text: Callable[[str], None]) -> Action:
        try:
            return live.sample_once(setup, sample, 0, greedy=False, on_text=on_text)
        finally:
            ended.set()

    def slowly(on_text: Callable[[str], None]) -> Action:
        def one(text: str) -> None:
            on_text(text)
            heard.append(text)
            assert left.wait(30)  # after the first

        return job(one)

    left = threading.Event()
    shown = streaming.follow(slowly)
    next(shown)
    shown.close()
    left.set()
    assert whole.token_ids is not None
    assert ended.wait(30) and len(heard) == 1 < len(whole.token_ids)


def test_one_greedy_action_is_that_of_the_policy_and_a_drawn_one_its_own(run: str) -> None:
    from ekipl_lab import benchmarks

    setup, sample = live.setup_of("", START), benchmarks.load_sample(ITEM)
    greedy = [live.sample_once(setup, sample, draw, greedy=True) for draw in (0, 1)]
    assert greedy[0].completion == greedy[1].completion
    drawn = [live.sample_once(setup, sample, draw, greedy=False) for draw in (0, 0, 1)]
    assert drawn[0] == drawn[1] and drawn[0].completion != drawn[2].completion


def test_stored_chains_need_no_model(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def loaded(folder: str) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(live, "_load", loaded)
    state = State(run=run, checkpoint="step-1", run2=run, checkpoint2=START, teachers="none",
                  how="stored", item=ITEM)  # fmt: skip
    last = pages(state)[-1]
    assert last.count('<th scope="col" style') == 2 and last.count('class="answer') == 2
    lacking = pages(replace(state, item="mini/counting/test/s0/count_pair/000031"))[-1]
    assert "Nothing is stored of mini/counting/test/s0/count_pair/000031" in lacking
    sampled = pages(replace(state, how="stored_sampled"))[-1]
    assert "of 6 right" in sampled


def test_a_failing_column_leaves_the_others(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state = replace(ALONE, run="none", run2="", checkpoint2=START, teachers="demo")
    from ekipl_lab.errors import TeacherError

    asked = live.ask_teacher

    def broken(setup: live.Setup, teacher: object, *rest: object) -> list[Action]:
        if teacher is setup.teachers[0]:
            raise TeacherError("careful <b>is</b> ill")
        return asked(setup, teacher, *rest)  # type: ignore[arg-type,return-value]

    monkeypatch.setattr(live, "ask_teacher", broken)
    *_, last = compare.show(state)
    assert "careful &lt;b&gt;is&lt;/b&gt; ill" in last and last.count('class="answer') == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"run": "gone"}, "There is no run"),
        ({"checkpoint": "step-7"}, "has no checkpoint"),
        ({"item": "../etc", "how": "stored"}, "are not here"),
        ({"item": "mini/no", "how": "stored"}, "no sample id"),
        ({"own": "nothing", "question": "?"}, "no longer here"),
    ],
)
def test_addresses_that_name_nothing_say_so(run: str, changes: dict[str, str], words: str) -> None:
    state = replace(ALONE, **{"run": run, "teachers": "none", **changes})  # type: ignore[arg-type]
    assert words in pages(state)[-1]


def test_the_state_is_the_address(run: str) -> None:
    state = State(run=run, checkpoint="step-1", run2=run, checkpoint2="start", run3="x",
                  checkpoint3="step-2", teachers="none", how="stored", item=ITEM, draw=3,
                  own="k", question="How many? <b>&", answer="2")  # fmt: skip
    assert from_query(State, views.parse(to_query("compare", state))) == state
    shown = compare.load(compare.complete(State(run="gone")))
    assert shown["run"]["value"] is None
    assert [value for _, value in shown["checkpoint"]["choices"]] == [START]


def test_a_reader_brings_a_picture_and_goes_back(run: str) -> None:
    with served() as address:
        page = Browser(address, to_query("compare", replace(ALONE, run=run, teachers="none")))
        page.act("compare-picture", "click", picture())
        assert "Write a question" in page.stage and "own=" in page.query
        assert "data:" not in page.query
        page.act("compare-question", "submit", "How many <b>red</b> things?")
        assert "How many &lt;b&gt;red&lt;/b&gt; things?" in page.stage
        assert "90 × 60 px" in page.stage and "True answer" not in page.stage
        page.act("compare-benchmark", "click")
        assert "own=" not in page.query and "True answer" in page.stage
        page.act("compare-picture", "click", "data:text/html;base64,PGI+")
        assert "Choose a PNG, JPEG or WebP" in page.stage


def test_stop_ends_what_is_shown(run: str) -> None:
    import httpx

    with served() as address:
        config = httpx.get(f"{address}/config").json()
    number = next(
        part["id"]
        for part in config["components"]
        if part["props"].get("elem_id") == "compare-stop"
    )
    events = config["dependencies"]
    (stop,) = [e for e in events if [number, "click"] in e["targets"] and e["cancels"]]
    shows = [e["id"] for e in events if e["types"]["generator"]]
    assert sorted(stop["cancels"]) == sorted(shows)
