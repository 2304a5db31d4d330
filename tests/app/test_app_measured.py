"""Stored evaluations: found, filtered, compared, shown; without a model."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from page_kit import Browser, served
from synthetic_runs import make_run, player

from app import evaluations, filters, marks, measured, recorded_groups, views
from app.filters import GROUP_COLUMNS, Item, group_facts, matching_groups
from app.measured import Wanted, Where
from app.state import to_query
from app.views import measured as view
from app.views import recorded
from ekipl_lab import benchmarks, records, tracking
from ekipl_lab.benchmarks.mini.chains import write_chain
from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.evaluation import evaluate, read_records, write_records
from ekipl_lab.groups.doctor.causes import zero_spread_cause
from ekipl_lab.rewards import get_scorer
from ekipl_lab.types import POLICY, Action, EvalRecord

ITEM = "mini/counting/test/s0/count_pair/000000"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A run that was measured at three steps, and a teacher measured by ``ekipl eval``."""
    folder = tmp_path_factory.mktemp("measured")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        run = make_run("arm", gain=0.6, teachers=("careful",), steps=2, items=14, work=folder)
        evaluated = folder / "eval" / "careful-0123456789abcdef"
        samples = benchmarks.load_samples("mini", task="counting", split="test", limit=14)
        teacher = player("careful", 0.9, seed=5)
        found = evaluate(teacher, samples, get_scorer("ekipl/auto"), mode="sampled", num_samples=1)
        write_records(evaluated / "records.parquet", found)
        about = {
            "format": 1,
            "job": {"tasks": ["counting"], "splits": ["test"], "image_size": None},
            "source": {"name": "careful"},
        }
        (evaluated / "evaluation.json").write_text(json.dumps(about), encoding="utf-8")
        yield run, "eval/careful-0123456789abcdef"


def record(*completions: str, mode: str = "greedy") -> EvalRecord:
    sample, scorer = benchmarks.load_sample(ITEM), get_scorer("ekipl/auto")
    actions = tuple(Action(text, POLICY, "m") for text in completions)
    rewards = tuple(scorer(sample, action) for action in actions)
    return EvalRecord(ITEM, "counting", "test", "count_pair", 2, "m", mode, actions, rewards)


def test_every_stored_evaluation_is_found(store: tuple[str, str]) -> None:
    run, folder = store
    assert [source for _, source in evaluations.choices()] == [run, folder]
    assert evaluations.list_sets(run) == ["test", "test_ood"]
    assert evaluations.list_checkpoints(run, "test") == ["start", "step-1", "step-2"]
    assert evaluations.list_checkpoints(folder, "test") == ["step-1"]
    assert len(evaluations.load(run, "test", "step-1")) == 14
    assert {r.mode for r in evaluations.load(run, "test", "step-2")} == {"greedy", "sampled"}
    with pytest.raises(DataError, match="no evaluation of 'test' at 'step-3'; measured there"):
        evaluations.load(run, "test", "step-3")
    assert evaluations.list_sets("eval/../../etc") == evaluations.list_sets("nobody") == []


def test_records_without_tokens_are_the_records(store: tuple[str, str], tmp_path: Path) -> None:
    path = tracking.run_artifact(store[0], "evaluation/test/step-000002.parquet")
    whole, light = read_records(path), read_records(path, tokens=False)
    bare = [
        replace(r, actions=tuple(replace(a, token_ids=None, logprobs=None) for a in r.actions))
        for r in whole
    ]
    assert light == bare


def test_filters_ask_what_they_say() -> None:
    sample = benchmarks.load_sample(ITEM)
    right = record(write_chain(sample, rng=random.Random(0)))
    wrong = record(write_chain(sample, fault="wrong_answer", rng=random.Random(0)))
    keeps = {
        name: [
            rule.keeps(item)
            for item in (Item(right, wrong), Item(wrong, right), Item(wrong, wrong), Item(right))
        ]
        for name, rule in filters.ITEM_FILTERS.items()
    }
    assert keeps["gained"] == [True, False, False, False]
    assert keeps["lost"] == [False, True, False, False]
    assert keeps["differ"] == [True, True, False, False]
    assert keeps["both_wrong"] == [False, False, True, False]
    assert keeps["wrong"] == [False, True, True, False]
    assert keeps["format"] == keeps["unscored"] == keeps["cut"] == [False] * 4
    assert filters.ITEM_FILTERS["format"].keeps(Item(record("2 4")))
    both = record(right.actions[0].completion, wrong.actions[0].completion, mode="sampled")
    assert filters.ITEM_FILTERS["mixed"].keeps(Item(both)) and Item(both).verdict == "right"
    assert filters.says(right, "  SO ") and not filters.says(right, "elephant")
    sneaky = write_chain(sample, fault="wrong_chain", rng=random.Random(0))
    assert filters.unsound(sample, sneaky) and not filters.unsound(
        sample, right.actions[0].completion
    )


def test_selected_items_and_counts_are_those_of_the_records(store: tuple[str, str]) -> None:
    run, folder = store
    where, start = Where(run, "test", "step-2", "greedy"), Where(run, "test", "start", "greedy")
    every = measured.items_of(where, start)
    before = {r.sample_id: r.rewards[0].success for r in start.records()}
    after = {r.sample_id: r.rewards[0].success for r in where.records()}
    gained = {name for name in after if after[name] and not before[name]}
    found = measured.select(every, Wanted("gained"), where)
    assert {item.record.sample_id for item in found} == gained and gained
    counts = measured.tally(every)
    assert (counts.items, counts.right, counts.gained) == (14, sum(after.values()), len(gained))
    family = measured.select(every, Wanted(family="remove"), where)
    assert {item.record.family for item in family} == {"remove"}
    strata = measured.strata(where)
    low = measured.select(every, Wanted(stratum="0-5 %"), where)
    assert {i.record.sample_id for i in low} == {n for n, s in strata.items() if s == "0-5 %"}
    beside = measured.items_of(where, Where(folder, "test", "step-1", "sampled"))
    assert all(item.other is not None for item in beside)
    assert measured.history(where, every[0].record.sample_id)[-1] == ("step-2", every[0].verdict)
    with pytest.raises(ConfigError, match="filter"):
        measured.select(every, Wanted("nonsense"), where)


def test_group_filters_agree_with_the_groups(store: tuple[str, str]) -> None:
    folder = tracking.run_artifact(store[0], "groups")
    rows = records.read_groups(folder, columns=GROUP_COLUMNS)
    groups = [g for step in records.list_steps(folder) for g in records.load_groups(folder, step)]
    expected = {name: set() for name in filters.GROUP_FILTERS}  # type: dict[str, set[object]]
    for group in groups:
        pairs = list(zip(group.candidates, group.rewards, strict=True))
        own = [reward.success for action, reward in pairs if action.source == POLICY]
        shown = any(r.success for a, r in pairs if a.source != POLICY)
        is_so = {
            "all": True,
            "teacher_kept": any(group.candidates[i].source != POLICY for i in group.kept),
            "all_wrong": not any(own),
            "all_right": all(own),
            "mixed": any(own) and not all(own),
            "taught": not any(own)
            and any(pairs[i][1].success for i in group.kept if pairs[i][0].source != POLICY),
            "shown": not any(own) and shown,
            "zero_spread": zero_spread_cause(group) is not None,
            "format": any(r.components["format"] != 1.0 for r in group.rewards),
            filters.UNSOUND: any(r.success for r in group.rewards),  # and a checker: below
        }
        for name in expected:
            if is_so[name]:
                expected[name].add((group.step, group.group))
    assert expected["zero_spread"] and expected["teacher_kept"]
    for name, wanted in expected.items():
        assert matching_groups(group_facts(rows), name) == sorted(wanted), name  # type: ignore[type-var]
    unscored = pa.Table.from_pylist(
        [dict(zip(GROUP_COLUMNS, (1, 0, "", 1, POLICY, None, True, None, []), strict=True))],
        schema=pa.schema([records.SCHEMA.field(name) for name in GROUP_COLUMNS]),
    )
    families = {group.sample_id.split("/")[4] for group in groups}
    own = [matching_groups(group_facts(rows), "all", family) for family in families]
    assert sorted(place for found in own for place in found) == sorted(expected["all"])  # type: ignore[type-var]
    levels = recorded_groups.list_difficulties(store[0])
    assert levels == sorted({str(group.difficulty) for group in groups})
    for level in levels:
        wanted = [(g.step, g.group) for g in groups if str(g.difficulty) == level]
        assert recorded_groups.list_groups(store[0], difficulty=level) == tuple(wanted)
    assert not recorded_groups.list_groups(store[0], difficulty="nonsense")
    facts = group_facts(rows)
    harder = facts.set_column(3, "difficulty", pa.array(range(len(facts)), pa.int32()))
    assert matching_groups(harder, "all", difficulty="3") == [sorted(expected["all"])[3]]  # type: ignore[type-var]
    assert matching_groups(group_facts(unscored), "zero_spread") == [(1, 0)]
    assert matching_groups(group_facts(unscored), "all_wrong") == []


def test_groups_with_a_right_answer_behind_a_wrong_chain(store: tuple[str, str]) -> None:
    folder = tracking.run_artifact(store[0], "groups")
    groups = [g for step in records.list_steps(folder) for g in records.load_groups(folder, step)]
    wanted = set()
    for group in groups:
        sample = benchmarks.load_sample(group.sample_id)
        pairs = zip(group.candidates, group.rewards, strict=True)
        right = [action.completion for action, reward in pairs if reward.success]
        if any(filters.unsound(sample, text) for text in right):
            wanted.add((group.step, group.group))
    assert set(recorded_groups.list_groups(store[0], keep=filters.UNSOUND)) == wanted
    scenes = {group.sample_id for group in groups}
    assert all(marks.is_checked(name) for name in scenes) and not marks.is_checked("own/1")
    shown = to_query("recorded", recorded.State(run=store[0], keep=filters.UNSOUND))
    (page,) = views.show(shown)
    assert f"{len(wanted)} groups: a right answer, wrong chain" in page


def test_the_page_shows_overview_item_and_chains(store: tuple[str, str]) -> None:
    run, folder = store
    (page,) = views.show(f"view=measured&run={run}")
    assert page.count('title="mini/counting/test/') == 14
    assert "gained</b></a> (+)" in page and 'class="question"' in page
    assert "step 2, greedy" in page and "start (step 0), before training, greedy" in page
    links = re.findall(r'<a class="(?:right|wrong)[^"]*" href="\?([^"]*)" title', page)
    for link in links[:3]:
        (again,) = views.show(link.replace("&amp;", "&"))
        assert again.count('aria-current="true"') == 2  # in the overview, among the checkpoints
    (teacher,) = views.show(f"view=measured&run={run}&against={folder}&keep=lost")
    assert "wrong here, right there" in teacher and "careful" in teacher
    (alone,) = views.show(f"view=measured&run={folder}&mode=sampled&against=nothing")
    assert "gained" not in alone and "as measured, sampled" in alone


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("run=gone", "no evaluation of"),
        ("run=RUN&set=none", "no evaluation of &#39;none&#39;"),
        ("run=RUN&checkpoint=step-9", "measured there: start, step-1, step-2"),
        ("run=RUN&checkpoint=step-1&mode=sampled", "was not measured sampled"),
        ("run=RUN&keep=odd", "odd"),
        ("run=RUN&item=nothing", "has no item"),
        ("run=RUN&words=<script>alert</script>", "No item fits"),
    ],
)
def test_addresses_that_name_nothing_say_so(
    store: tuple[str, str], address: str, words: str
) -> None:
    *_, page = views.show("view=measured&" + address.replace("RUN", store[0]))
    assert words in page and "<script>" not in page


def test_nothing_measured_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    (page,) = views.show("view=measured")
    assert "Nothing measured yet" in page and "<pre>make demo</pre>" in page
    shown = view.load(view.complete(view.State()))
    assert shown["run"]["choices"] == [] and shown["set"]["value"] is None


def test_a_reader_filters_and_walks(store: tuple[str, str]) -> None:
    run, _ = store
    with served() as address:
        page = Browser(address, f"view=measured&run={run}")
        assert page["measured-checkpoint"]["value"] == "step-2"
        page.act("measured-keep", "input", "wrong")
        wrong = [
            record.sample_id
            for record in Where(run, "test", "step-2", "greedy").records()
            if not record.rewards[0].success
        ]
        page.act("measured-next", "click")
        seen = dict(re.findall(r"(\w+)=([^&]*)", page.query))["item"]
        assert seen in wrong
        page.act("measured-run", "input", store[1])
        assert page["measured-mode"]["value"] == "sampled" and "as measured" in page.stage


def test_next_and_previous_go_through_what_fits(store: tuple[str, str]) -> None:
    state = view.complete(view.State(run=store[0], checkpoint="start", keep="wrong"))
    shown = {name: value["value"] for name, value in view.load(state).items()}
    seen = []
    for _ in range(15):
        state = view.act("next", state, shown)
        seen.append(state.item)
    where = Where(store[0], "test", "start", "greedy")
    wrong = [r.sample_id for r in where.records() if not r.rewards[0].success]
    assert {*seen} <= {*wrong} and len(wrong) > 2
    assert len({*seen}) >= len(wrong) - 1 and seen[-1] == seen[-2]  # the end stays the end
    assert view.act("previous", state, shown).item == [*dict.fromkeys(seen)][-2]
    assert view.load(state)["next"]["value"] == "Last item"
    (page,) = views.show(to_query("measured", state))
    assert f"Item {len(wrong)} of {len(wrong)}, the last." in page
    first = view.complete(view.State(run=store[0], checkpoint="start", keep="wrong"))
    assert view.load(first)["previous"]["value"] == "First item"
    assert view.load(first)["next"]["value"] == "Next →"


def test_a_lost_picture_leaves_the_chains(
    store: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(source: str, sample_id: str) -> None:
        raise DataError(f"The picture and question of {sample_id} are not here.")

    monkeypatch.setattr(evaluations, "sample_of", gone)
    state = view.State(run=store[0])
    (page,) = views.show(to_query("measured", state))
    assert "are not here" in page and 'class="compare"' in page
