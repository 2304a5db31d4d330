"""The views of runs, teachers, studies and votes, over a store of four runs."""

from __future__ import annotations

import re
import sqlite3
import sys
from collections import OrderedDict
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from datasets import load_dataset
from PIL import Image
from synthetic_runs import RunStore

from app import (
    curves,
    exports,
    judging,
    kept,
    recorded_groups,
    runs,
    samples,
    studies,
    teaching,
    views,
    votes,
)
from app.__main__ import main as app_main
from app.views import judge
from app.views import runs as runs_view
from ekipl_lab import tracking
from ekipl_lab.benchmarks.mini.chains import check_chain
from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.prompts import prompt_text
from ekipl_lab.records import RecordedGroup
from ekipl_lab.types import Sample


def bare_sample(record: RecordedGroup) -> Sample:
    """A sample of which no more is known than the record says, as of data that have changed."""
    return Sample(record.sample_id, record.task, record.split, (), record.question, record.answer,
                  record.answer_type)  # fmt: skip


def page(query: str) -> str:
    return list(views.show(query))[-1]


def test_arms_have_a_line_and_a_band_over_their_seeds(run_store: RunStore) -> None:
    shown = page(f"view=runs&run={run_store.runs['ekipl-s0']}")
    assert shown.count("<tr") == 5  # a heading and four runs
    for name, id in run_store.runs.items():
        assert f"<td>{name}</td>" in shown and f"/#/runs/{id}" in shown
        assert f"?run={id}&amp;view=recorded" in shown
    found = curves.infos(list(run_store.runs.values()))
    joined = curves.arms(found)
    assert sorted((arm.label, list(arm.runs)) for arm in joined) == [
        ("ekipl", [0, 1]), ("grpo", [0, 1])
    ]  # fmt: skip
    shown = page(f"view=runs&run={run_store.runs['ekipl-s0']}&panel=diagnostics")
    assert "Groups without spread, after selection" in shown and "<polygon" in shown


def test_the_mean_of_two_seeds_has_student_s_interval() -> None:
    (first, second) = curves.over_seeds([[(1, 0.2), (2, 0.4)], [(1, 0.4)]])
    # mean 0.3, standard error 0.1, t(0.975, 1) = 12.706
    assert (first.y, second.y, second.low) == (pytest.approx(0.3), 0.4, None)
    assert first.low == pytest.approx(0.3 - 12.7062 * 0.1, abs=1e-4)


def test_a_click_on_a_curve_opens_the_groups_of_that_step(run_store: RunStore) -> None:
    run = run_store.runs["ekipl-s0"]
    shown = page(f"view=runs&run={run}&panel=sources")
    links = {link.replace("&amp;", "&") for link in re.findall(r'<a href="(\?[^"]+step=3)"', shown)}
    assert links == {f"?run={run}&view=recorded&step=3"}
    assert '<article class="card' in page(links.pop()[1:])


def test_a_click_on_any_curve_opens_what_its_run_shows_there(run_store: RunStore) -> None:
    run, other = run_store.runs["ekipl-s1"], run_store.runs["grpo-s0"]
    for panel, view in (("learning", "measured"), ("diagnostics", "recorded")):
        shown = page(f"view=runs&run={run}&panel={panel}")
        figures = shown.split('<figure class="plot">')[1:]
        assert figures
        for figure in figures:
            links = [unescape(link) for link in re.findall(r'<a href="\?([^"]+)"', figure)]
            assert {parse_qs(link)["run"][0] for link in links} == {run, other}  # one of each arm
            assert {parse_qs(link)["view"][0] for link in links} == {view}
            for link in links:
                assert "That cannot be shown" not in page(link), link
    assert "set=test_ood&checkpoint=step-4&mode=greedy" in " ".join(
        curves.addresses(run, "eval/test_ood/accuracy_greedy").values()
    )
    assert curves.addresses(run, "eval/test/pass_at_4")[0].endswith("checkpoint=start&mode=sampled")
    assert curves.addresses(run, "eval/unknown/pass_at_4") == curves.addresses(run, "loss")


def test_a_run_in_training_is_drawn_again_and_a_finished_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_store: RunStore
) -> None:
    assert "data-refresh" not in page("view=runs")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with tracking.open_run("synthetic", "now", {}, {"name": "now"}, {}) as log:
        log.log_metrics({"loss": 0.5}, 1)
        log.log_text("Steps 1 to 1: 3 of <4> groups taught nothing.", "group_doctor/step-1.txt")
        log.flush()
        shown = page(f"view=runs&run={log.run_id}&panel=diagnostics")
        assert f'data-refresh="{runs_view.REFRESH}"' in shown and "Loss" in shown
        assert "3 of &lt;4&gt; groups taught nothing." in shown


def test_other_runs_are_chosen_and_left_out(run_store: RunStore) -> None:
    ids = run_store.runs
    state = runs_view.complete(runs_view.State(ids["grpo-s0"]))
    assert set(runs_view.load(state)["beside"]["value"]) == set(ids.values()) - {ids["grpo-s0"]}
    alone = runs_view.act("beside", state, {"beside": []})
    assert alone.beside == "none" and page(f"view=runs&run={alone.run}&beside=none").count("<td>")
    one = runs_view.act("beside", state, {"beside": [ids["ekipl-s1"]]})
    assert runs_view.load(one)["beside"]["value"] == [ids["ekipl-s1"]]
    assert runs_view.act("panel", state, {"beside": ["x"], "panel": "sources"}).beside == ""
    assert "There is no run" in page(f"view=runs&run={ids['grpo-s0']}&beside=gone")


def test_teachers_are_measured_on_the_groups_of_the_run(run_store: RunStore) -> None:
    shown = page(f"view=teachers&run={run_store.runs['ekipl-s0']}")
    assert "What each teacher adds" in shown and "Accuracy against cost" in shown
    assert "<td>careful</td>" in shown and "<td>hostile</td>" in shown
    assert "has recorded no teacher actions" in page(
        f"view=teachers&run={run_store.runs['grpo-s0']}"
    )


def test_right_answers_behind_wrong_chains_are_counted_where_chains_can_be_checked(
    run_store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_store.runs["ekipl-s0"]
    found = teaching.measured(run)
    assert found.checked == found.samples > 0
    last = {g.sample.id: g for step, n in recorded_groups.list_groups(run)
            for g in [recorded_groups.load_recorded(run, step, n)]}  # fmt: skip
    for one in found.found.sources:
        if one.where != (("task", "counting"),):
            continue
        sound = [
            check_chain(group.sample, action.completion).sound
            for group in last.values()
            for action, reward in zip(group.candidates, group.rewards, strict=True)
            if action.source == one.source and reward.success
        ]
        value = None if one.wrong_chains is None else one.wrong_chains.value
        assert value == (pytest.approx(1 - sum(sound) / len(sound)) if sound else None)
    assert "chains of every sample were checked" in page(f"view=teachers&run={run}")
    teaching._measured.cache_clear()
    monkeypatch.setattr(samples, "find_sample", lambda config, record: bare_sample(record))
    assert "no chain can be checked, so the column says “-”" in page(f"view=teachers&run={run}")
    teaching._measured.cache_clear()


def test_a_gateway_store_is_shown_with_its_failures(
    run_store: RunStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from ekipl_lab.teachers.gateway.cache import ActionCache
    from ekipl_lab.teachers.gateway.cache_store import Store
    from ekipl_lab.teachers.gateway.ledger import Intent, Ledger, Spent

    path = tmp_path / "teachers.sqlite3"
    store = Store(path)
    ledger = Ledger(store, "account")
    first, second, third = (
        ledger.open(Intent("api", "m-1", "s1", (f"k{i}",), 1, 100, 2_000_000)) for i in range(3)
    )
    assert all(isinstance(call, int) for call in (first, second, third))
    ledger.commit(first, Spent(80, 0, 20, 1_500_000, 0.5, "stop"), {}, ActionCache(store))
    ledger.fail(second, "status 429 <script>", maybe_billed=False)
    ledger.fail(third, "time-out", maybe_billed=True)
    store.close()
    config = {"teachers": [{"id": "api", "gateway": {"cache": str(path)}}]}
    monkeypatch.setattr(runs, "config_of", lambda run: config)
    shown = page(f"view=teachers&run={run_store.runs['ekipl-s1']}")
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", shown)
    start = cells.index("m-1")
    # requests, answered, refused, without answer, USD, USD without answer, seconds
    assert cells[start + 1 : start + 8] == ["3", "1", "1", "1", "0.0015", "0.0020", "0.50"]
    assert "status 429 &lt;script&gt;" in shown and "time-out" in shown
    assert str(tmp_path) not in shown
    assert path.is_file() and not (tmp_path / "other.sqlite3").exists()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM calls").fetchone() == (3,)


def test_a_study_is_its_page_without_raw_html_or_foreign_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "folder", lambda: tmp_path)
    assert "There are no studies" in page("view=studies")
    place = tmp_path / "main"
    place.mkdir()
    (place / "cell.json").write_text("{}", encoding="utf-8")
    assert "main has records and no page yet" in page("view=studies")
    (place / "curve.svg").write_text("<svg/>", encoding="utf-8")
    (tmp_path / "secret.svg").write_text("<svg/>", encoding="utf-8")
    (place / "README.md").write_text(
        "# Study main\n\n| a | b |\n|---|---|\n| 1 | <script>alert(1)</script> |\n\n"
        "![curve](curve.svg) ![x](../secret.svg) ![y](http://evil.example/y.png)\n\n"
        "[link](javascript:alert(1))\n",
        encoding="utf-8",
    )
    shown = page("view=studies")
    assert "<h1>Study main</h1>" in shown and "<td>1</td>" in shown
    assert "<script>" not in shown and 'href="javascript' not in shown
    assert shown.count('src="data:image/svg+xml;base64,') == 1 and "evil.example" not in shown
    assert "no study" in page("view=studies&study=../..")


def start(store: RunStore, **more: str) -> judge.State:
    ids = store.runs
    given = {"run": ids["ekipl-s0"], "against": ids["grpo-s0"], "of": "test/4", "of_b": "test/4"}
    return judge.complete(judge.State(**(given | more)))


def test_the_start_is_named_as_everywhere(run_store: RunStore) -> None:
    known = judge.load(start(run_store))["of"]["choices"]
    assert ("test, start (step 0)", "test/0") in known and ("test, step 4", "test/4") in known


def values(state: judge.State, **more: object) -> dict[str, object]:
    return {name: p["value"] for name, p in judge.load(state).items()} | more


def test_a_rater_goes_blind_through_all_pairs_and_the_votes_are_kept(
    run_store: RunStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(votes, "votes_file", lambda: tmp_path / "votes.jsonl")
    state = start(run_store)
    pairs = judging.pairs(f"{state.run}/test/4", f"{state.against}/test/4", "")
    assert len(pairs) >= 2 and sum(p.flipped for p in pairs) == len(pairs) // 2
    orders = [judging.pairs(pairs[0].source_a, pairs[0].source_b, str(n)) for n in range(20)]
    assert len({tuple((p.sample_id, p.flipped) for p in order) for order in orders}) > 1
    unnamed = judge.act("left", state, values(state))
    assert unnamed.problem == "rater" and votes.read() == []
    assert judge.PROBLEMS["rater"] in "".join(judge.show(unnamed))
    state = judge.act("rater", state, values(state, rater="ann"))
    for number in range(len(pairs)):
        shown = "".join(judge.show(state))
        assert f"Pair {state.pair} of {len(pairs)}; you have voted on {number}." in shown
        side = shown.split('class="pairs"')[1].split("<details")[0]
        assert "ekipl" not in side and "grpo" not in side
        draft = {"tags_left": ["saw"], "reason": "it <b>counts</b> well"}
        state = judge.act("left", state, values(state, **draft))
        assert state.problem == "" and state.reason == "" and state.tags_left == ""
    assert state.pair == len(pairs) + 1
    assert "That was the last pair" in "".join(judge.show(state))
    cast = votes.read()
    assert len(cast) == len(pairs)
    ours = {p.sample_id: p for p in judging.pairs(cast[0].source_a, cast[0].source_b, "ann")}
    for vote in cast:
        flipped = ours[vote.sample_id].flipped
        assert vote.choice == ("b" if flipped else "a") and vote.reason == "it <b>counts</b> well"
        assert (vote.tags_b if flipped else vote.tags_a) == ("saw",)
        assert vote.prompt == prompt_text(judging.sample_of(vote.source_a, vote.sample_id))
    second = judge.act("rater", start(run_store), values(start(run_store), rater="bob"))
    second = judge.act("both_wrong", second, values(second, corrected="<think>so</think>"))
    assert votes.agreement(votes.read())[0].pairs == 1
    results = "".join(judge.show(second))
    assert "Cohen" in results and "ekipl-s0 test/4" in results and "<b>counts" not in results


def test_votes_become_a_data_set_that_trl_takes(
    run_store: RunStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from trl.data_utils import is_conversational, prepare_multimodal_messages

    monkeypatch.setattr(votes, "votes_file", lambda: tmp_path / "votes.jsonl")
    with pytest.raises(DataError, match="nothing to export yet"):
        exports.as_parquet(exports.preference_rows())
    state = start(run_store)
    sources = (f"{state.run}/test/4", f"{state.against}/test/4")
    sample = judging.pairs(*sources, "")[0].sample_id
    fixed = "<think>as it should be</think><answer>1</answer>"
    judging.vote(*sources, "ann", sample, "tie")
    assert exports.preference_rows() == []
    for rater, better in (("ann", "a"), ("bob", "a"), ("cy", "b")):
        pair = next(p for p in judging.pairs(*sources, rater) if p.sample_id == sample)
        side = "left" if (better == "b") == pair.flipped else "right"
        judging.vote(*sources, rater, sample, side, corrected=fixed if rater == "cy" else "")
    for name, rows in (("dpo", exports.preference_rows()), ("sft", exports.correction_rows())):
        (tmp_path / f"{name}.parquet").write_bytes(exports.as_parquet(rows))
    reader = lambda name: load_dataset(  # noqa: E731
        "parquet",
        data_files=str(tmp_path / f"{name}.parquet"),
        cache_dir=str(tmp_path),
        split="train",
    )
    (row,) = reader("dpo")
    assert is_conversational(row) and row["votes"] == "2 of 3"
    assert row["chosen"] == [{"role": "assistant", "content": pair.chain_a}]
    assert row["rejected"][0]["content"] == pair.chain_b
    assert row["images"][0].size == (56, 56)
    turns = prepare_multimodal_messages(row["prompt"] + row["chosen"], row["images"])
    assert [part["type"] for part in turns[0]["content"]] == ["image", "text"]
    (taught,) = reader("sft")
    assert taught["completion"] == [{"role": "assistant", "content": fixed}]
    assert taught["prompt"] == row["prompt"] and taught["rater"] == "cy"


def test_a_run_too_old_for_the_list_is_still_a_run(
    run_store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a store of more runs than are listed: its votes and chains are exported all the same."""
    monkeypatch.setattr(runs, "LATEST", 1)
    monkeypatch.setattr(kept, "_ANSWERS", OrderedDict())
    old = run_store.runs["grpo-s0"]
    assert [choice.name for choice in runs.list_runs()] == ["ekipl-s1"]
    assert runs.info(old).name == "grpo-s0" and judging.stored(old)
    assert len(list(exports.chain_rows(old))) == 36 and recorded_groups.list_steps(old)
    assert f"run={old}" in page(f"view=measured&run={old}")
    for none in ("0" * 32, old[:8]):
        assert not runs.is_known(none)
        with pytest.raises(ConfigError, match="There is no run"):
            runs.info(none)


def test_pictures_stand_in_an_exported_prompt_where_it_names_them(
    run_store: RunStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from trl.data_utils import prepare_multimodal_messages

    asked = {"s1": "In front", "s2": "Before <image> and after"}
    picture = Image.new("RGB", (4, 4))
    cast = [
        votes.Vote("ann", id, "r/test/1", "q/test/1", "good", "bad", prompt, "a")
        for id, prompt in asked.items()
    ]
    monkeypatch.setattr(votes, "read", lambda: cast)
    monkeypatch.setattr(
        judging, "sample_of",
        lambda source, id: Sample(id, "t", "test", (picture,), asked[id], "1", "number"),
    )  # fmt: skip
    path = tmp_path / "dpo.parquet"
    path.write_bytes(exports.as_parquet(exports.preference_rows()))
    table = load_dataset("parquet", data_files=str(path), cache_dir=str(tmp_path), split="train")
    kinds = []
    for row in table:
        turns = prepare_multimodal_messages(row["prompt"] + row["chosen"], row["images"])
        kinds.append([part["text"] or part["type"] for part in turns[0]["content"]])
    assert kinds == [["image", "In front"], ["Before ", "image", " and after"]]


def test_an_export_is_whole_or_not_at_all(
    run_store: RunStore,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Chains where votes are ties alone; nothing where a run is unknown or the place is a file."""
    run = run_store.runs["grpo-s0"]
    tie = votes.Vote("ann", "s1", "r/test/1", "q/test/1", "good", "bad", "?", "tie")
    monkeypatch.setattr(votes, "read", lambda: [tie])

    def export(out: Path, *given: str) -> int:
        monkeypatch.setattr(sys, "argv", ["app", "export", "--out", str(out), "--", *given])
        return app_main()

    assert export(tmp_path / "all", run) == 0
    assert [path.name for path in (tmp_path / "all").iterdir()] == [f"chains-{run[:8]}"]
    assert export(tmp_path / "some", run, "gone") == 2 and not (tmp_path / "some").exists()
    assert export(tmp_path / "none") == 2 and not (tmp_path / "none").exists()
    (tmp_path / "file").write_text("mine")
    capsys.readouterr()
    for place in ("file", "file/below"):
        assert export(tmp_path / place, run) == 2
        assert "cannot be written" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


def test_a_vote_on_a_run_that_is_gone_is_named(
    run_store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = "mini/counting/test/s0/count_pair/000000"
    cast = [votes.Vote("ann", item, "gone/test/1", "q/test/1", "good", "bad", "?", "a")]
    monkeypatch.setattr(votes, "read", lambda: cast)
    with pytest.raises(DataError, match=f"A vote on {item} cannot be exported.*votes on gone out"):
        exports.preference_rows()


def test_chains_on_two_different_questions_are_no_pair(
    run_store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = start(run_store)
    sources = (f"{state.run}/test/4", f"{state.against}/test/4")
    item = judging.pairs(*sources, "")[0].sample_id
    known = judging.sample_of(sources[0], item)
    monkeypatch.setattr(
        judging, "sample_of",
        lambda source, id: known if source == sources[0] else replace(known, answer="9"),
    )  # fmt: skip
    with pytest.raises(ConfigError, match="asked different questions"):
        judging.vote(*sources, "ann", item, "tie")


def test_chains_are_exported_with_pictures_and_verdicts(
    run_store: RunStore, tmp_path: Path
) -> None:
    run = run_store.runs["ekipl-s0"]
    path = tmp_path / "chains.parquet"
    path.write_bytes(exports.as_parquet(exports.chain_rows(run)))
    table = load_dataset("parquet", data_files=str(path), cache_dir=str(tmp_path), split="train")
    assert len(table) == 2 * 3 * 6  # sets, steps, items
    assert {(row["set"], row["step"]) for row in table} == {
        (name, step) for name in ("test", "test_ood") for step in (0, 2, 4)
    }
    row = table[0]
    record = judging.records_of(f"{run}/test/0")[row["sample_id"]]
    assert row["completion"] == record.actions[0].completion
    assert row["right"] == record.rewards[0].success and row["images"][0].size == (56, 56)
    with pytest.raises(ConfigError, match="There is no run"):
        list(exports.chain_rows("gone"))


class Loads(HTMLParser):
    """What a page would load or run, and its tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href", "action", "srcset")]
        assert not any(k.startswith("on") for k, _ in attrs)


def test_a_bundle_is_one_file_that_loads_nothing(run_store: RunStore) -> None:
    run = run_store.runs["ekipl-s0"]
    addresses = [f"http://127.0.0.1:7860/?run={run}&view=recorded&step=2", f"?run={run}&view=runs"]
    whole = exports.bundle(addresses)
    found = Loads(whole)
    assert found.tags.isdisjoint({"script", "iframe", "link", "object", "form", "base"})
    foreign = [a for a in found.addresses if not a.startswith("data:image/")]
    assert all(a.startswith("http://127.0.0.1:5000/#/runs/") for a in foreign)  # only MLflow
    assert "default-src 'none'" in whole and "&lt;script&gt;alert" in whole
    assert whole.count('<article class="page">') == 2
    for wrong, words in (
        ([], "1 to 50 addresses"),
        ([f"?run={run}&view=recorded&step=99"], "no recorded groups"),
        (["?view=runs&run=gone"], "no run"),
    ):
        with pytest.raises((ConfigError, DataError), match=words):
            exports.bundle(wrong)


def test_the_command_line_is_given_on_whole(tmp_path: Path) -> None:
    import argparse

    from ekipl_lab.commands import app

    parser = argparse.ArgumentParser()
    app.add_options(parser)
    line = ["bundle", "?view=runs", "--out", str(tmp_path / "x.html")]
    args = parser.parse_args(line)
    again = parser.parse_args(app.arguments(args))
    assert (again.addresses, again.out) == (["?view=runs"], tmp_path / "x.html")
    served = parser.parse_args(app.arguments(parser.parse_args(["--host", "0.0.0.0"])))
    assert (served.host, served.port, served.job) == ("0.0.0.0", 7860, None)
