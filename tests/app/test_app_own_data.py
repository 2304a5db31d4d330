"""A run on data of one's own: its pictures in every view, and what is said where one is missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from own_data import write_tiles

from app import evaluations, exports, kept, recorded_groups, runs, samples, views
from app.state import to_query
from app.views import compare, item_controls, live, recorded
from ekipl_lab import tracking
from ekipl_lab.benchmarks import load_samples
from ekipl_lab.errors import DataError
from ekipl_lab.evaluation import write_records
from ekipl_lab.evaluation.job import Job, data_digest, load_sets
from ekipl_lab.groups.build import build_group
from ekipl_lab.records import GroupRecordWriter
from ekipl_lab.rewards import get_scorer
from ekipl_lab.training.config.run_config import parse_config
from ekipl_lab.training.inputs import fingerprint
from ekipl_lab.training.run_data import load_evaluation_sets
from ekipl_lab.types import POLICY, Action, ActionGroup, EvalRecord, Sample

FOLDER = "eval/guess-0123456789abcdef"


class Own(NamedTuple):
    """A run on own data, and the folder of the data."""

    run: str
    data: Path


def _said(sample: Sample, source: str, right: bool) -> Action:
    answer = sample.answer if right else "nothing"
    return Action(f"<think>I see it .</think><answer>{answer}</answer>", source, "m")


def _group(sample: Sample) -> ActionGroup:
    actions = [_said(sample, POLICY, False)] * 2 + [_said(sample, "careful", True)]
    rewards = [get_scorer("ekipl/auto")(sample, action) for action in actions]
    return build_group(sample, actions, rewards, rule="top_g", group_size=2)


def _record(sample: Sample, right: bool) -> EvalRecord:
    action = _said(sample, POLICY, right)
    reward = get_scorer("ekipl/auto")(sample, action)
    return EvalRecord(sample.id, sample.task, sample.split, sample.family, 0, "m", "greedy",
                      (action,), (reward,))  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        yield _make(folder)


@pytest.fixture
def own(made: Own, tmp_path: Path) -> Iterator[Own]:
    """The run; what a test does to its data is undone afterwards."""
    shutil.copytree(made.data, tmp_path / "kept")
    _forget()
    yield made
    shutil.rmtree(made.data)
    shutil.copytree(tmp_path / "kept", made.data)


def _forget() -> None:
    """What has been read of data before."""
    evaluations._samples.cache_clear()
    samples._samples.cache_clear()


def _make(tmp_path: Path) -> Own:
    path = str(write_tiles(tmp_path / "tiles", pictures=4))
    config = {
        "name": "tiles",
        "policy": {"path": "assets/policies/counting"},
        "data": {"benchmark": path, "task": "floor", "split": "train"},
        "evaluation": {"sets": [{"split": "validation"}]},
    }
    train = load_samples(path, task="floor", split="train")
    held = load_samples(path, task="floor", split="validation")
    measured_on = load_evaluation_sets(parse_config(config))["validation"]
    with tracking.open_run("own", "tiles", {}, config, {}) as log:
        log.log_dataset("tiles/validation", fingerprint(measured_on), "validation")
        with GroupRecordWriter(log.folder("groups")) as records:
            records.write(1, [_group(sample) for sample in train[:2]])
        measured = tmp_path / "step-000001.parquet"
        write_records(measured, [_record(s, right=n % 2 == 0) for n, s in enumerate(held)])
        log.log_artifact(measured, "evaluation/validation")
    folder = tmp_path / FOLDER
    write_records(folder / "records.parquet", [_record(sample, True) for sample in held])
    asked = Job("guess", path, ("floor",), ("validation",))
    job, held = asdict(asked), load_sets(asked)["validation"]
    data = {"validation": {"hash": data_digest(held)}}
    about = {"format": 1, "job": job, "source": {"name": "guess"}, "data": data}
    (folder / "evaluation.json").write_text(json.dumps(about), encoding="utf-8")
    return Own(log.run_id, tmp_path / "tiles")


def page(query: str) -> str:
    return list(views.show(query))[-1]


def test_its_pictures_are_in_every_view(own: Own) -> None:
    run = own.run
    for query in (
        f"view=recorded&run={run}",
        f"view=measured&run={run}",
        f"view=measured&run={FOLDER}",
        f"view=compare&run={run}&how=stored&teachers=none",
    ):
        shown = page(query)
        assert 'alt="The picture that the question is about"' in shown, query
        assert "Name the paint of the tile." in shown or "Is the floor wide?" in shown
        assert "No picture" not in shown and "I see it" in shown
        assert '<div class="cells"' not in shown  # no grid on a picture of one's own
    assert "in Compare" in page(f"view=measured&run={run}")
    assert "in Compare" not in page(f"view=measured&run={FOLDER}")  # no run has its items


def test_a_picture_that_cannot_be_read_is_said_and_the_chains_stay(own: Own) -> None:
    for picture in (own.data / "pictures").iterdir():
        picture.write_bytes(picture.read_bytes()[:60])  # the size is still read from the head
    for view in ("recorded", "measured"):
        shown = page(f"view={view}&run={own.run}")
        assert "No picture:" in shown and "I see it" in shown and "<img" not in shown
        assert "Name the paint" in shown or "Is the floor wide" in shown
        assert str(own.data.parent) not in shown


def test_data_that_are_gone_are_said_and_the_chains_stay(own: Own) -> None:
    (own.data / "tiles.yaml").unlink()
    shown = page(f"view=measured&run={own.run}")
    assert "are not here; its chains are" in shown and "tiles.yaml" in shown
    assert "I see it" in shown and str(own.data.parent) not in shown
    assert "No picture: the run&#39;s data are not at hand" in page(f"view=recorded&run={own.run}")


@pytest.mark.parametrize("changed", ["answer", "picture"])
def test_data_that_have_changed_are_said_and_not_shown(own: Own, changed: str) -> None:
    table = own.data / "validation.csv"
    if changed == "picture":
        shutil.copy(own.data / "pictures/validation1.png", own.data / "pictures/validation0.png")
    else:
        table.write_text(table.read_text(encoding="utf-8").replace("scarlet", "lime"))
    # what a run notes of its data are texts
    for source in (FOLDER,) if changed == "picture" else (FOLDER, own.run):
        item = evaluations.list_items(source)[0]
        with pytest.raises(DataError, match="data of 'validation' have changed since they were"):
            evaluations.sample_of(source, item)
        assert "have changed since" in page(f"view=measured&run={source}")
    if changed == "answer":
        with pytest.raises(DataError, match="have changed"):
            exports.as_parquet(exports.chain_rows(own.run))


@pytest.mark.parametrize("content", ["", "{}", '{"format": 1, "job": {"tasks": 5}}'])
def test_a_damaged_evaluation_hides_no_other(own: Own, content: str) -> None:
    folder = own.data.parent / "eval" / "bad-0123456789abcdef"
    folder.mkdir()
    (folder / "evaluation.json").write_text(content)
    try:
        kept._ANSWERS.clear()
        assert ("damaged · evaluation abcdef", "eval/bad-0123456789abcdef") in evaluations.choices()
        assert evaluations.latest() == own.run
        assert "I see it" in page(f"view=measured&run={own.run}")
        shown = page("view=measured&run=eval/bad-0123456789abcdef")
        assert "evaluation.json is" in shown and str(own.data.parent) not in shown
    finally:
        shutil.rmtree(folder)
        kept._ANSWERS.clear()


def test_an_item_of_other_data_is_said(own: Own) -> None:
    with pytest.raises(DataError, match=r"the data of 'tiles .*' do not hold it"):
        evaluations.sample_of(own.run, "tiles/floor/validation/99-paint")


def test_where_nothing_checks_chains_it_is_said(own: Own) -> None:
    assert "Nothing can check the chains of floor" in page(
        f"view=measured&run={own.run}&keep=unsound"
    )
    assert "no chain can be checked" in page(f"view=teachers&run={own.run}")


def test_a_live_reader_goes_through_what_the_run_was_measured_on(own: Own) -> None:
    known = evaluations.list_items(own.run)
    state = live.complete(live.State(run=own.run))
    assert state.item == known[0] == compare.complete(compare.State(run=own.run)).item
    seen = [state.item]
    for _ in known:
        shown = {name: p.get("value") for name, p in live.load(state).items()}
        state = live.act("next", state, shown)
        seen.append(state.item)
    assert seen == [*known, known[-1]]
    assert live.load(state)["next"]["value"] == "Last item"
    assert item_controls.sample_of(own.run, state.item).images[0].size in ((64, 64), (96, 48))
    assert "floor" in to_query("live", state)


def test_a_training_sample_is_sampled_now_and_leads_to_the_others(own: Own) -> None:
    sample = recorded_groups.load_recorded(own.run, 1, 0).sample
    state = recorded.complete(recorded.State(run=own.run, step=1))
    assert f"item={sample.id}" in page(to_query("recorded", state))  # "sample this item now"
    assert item_controls.sample_of(own.run, sample.id).images[0].size in ((64, 64), (96, 48))
    known = list(samples.trained_on(runs.config_of(own.run)))
    here = live.State(own.run, "start", known[0])
    assert sample.id in known and live.act("next", here, {}).item == known[1]
    assert live.act("number", here, {"number": len(known) + 9}).item == known[-1]
    assert live.act("random", here, {}).item in known


@pytest.mark.parametrize("view", [live, compare])
def test_an_item_of_own_data_has_no_task_split_or_family_to_choose(own: Own, view: Any) -> None:
    boxes = ("task", "split", "family")
    mine = view.load(view.complete(view.State(run=own.run)))
    assert not any(mine[name]["visible"] for name in boxes)
    built_in = view.State(run=own.run, item="mini/counting/test/s0/count_pair/000000")
    assert all(view.load(view.complete(built_in))[name]["visible"] for name in boxes)


def test_another_run_keeps_an_item_of_own_data_only_where_it_knows_it(own: Own) -> None:
    item = evaluations.list_items(own.run)[0]
    assert item_controls.kept(own.run, item) == item
    assert item_controls.kept("", item) == item_controls.first("")  # the demo's
