"""What the Recorded view says beyond the group itself, against the library and by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from synthetic_runs import make_run

from app import html, notation, recorded_groups, samples, views, whatif
from app.group import describe_group
from app.views import recorded
from ekipl_lab import benchmarks
from ekipl_lab.benchmarks.mini.chains import check_chain, completion, write_chain
from ekipl_lab.groups.build import build_group
from ekipl_lab.groups.doctor.causes import zero_spread_cause
from ekipl_lab.groups.selection import SELECTION_RULES
from ekipl_lab.records.schema import from_rows, to_rows
from ekipl_lab.rewards import get_scorer
from ekipl_lab.types import POLICY, Action, ActionGroup, RewardBreakdown, Sample

PAIR = "mini/counting/test/s0/count_pair/000000"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run of eight steps with two groups each."""
    folder = tmp_path_factory.mktemp("recorded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        yield make_run("seen", gain=0.4, teachers=("careful",), work=folder, items=2)


def group_of(item: Sample, *texts: tuple[str, str]) -> ActionGroup:
    """A group of (source, completion) pairs, scored."""
    actions = [Action(text, source, "model") for source, text in texts]
    rewards = [get_scorer("ekipl/auto")(item, action) for action in actions]
    size = sum(action.source == POLICY for action in actions)
    return build_group(item, actions, rewards, group_size=size)


def test_marks_say_what_the_doctor_says_of_every_group(run: str) -> None:
    marks = recorded_groups.list_marks(run)
    assert [(mark.step, mark.group) for mark in marks] == [
        (step, group) for step in range(1, 9) for group in range(2)
    ]
    for mark in marks:
        group = recorded_groups.load_recorded(run, mark.step, mark.group)
        kept = [group.candidates[i].source != POLICY for i in group.kept]
        assert mark.zero == (zero_spread_cause(group) is not None)
        assert mark.teacher == any(kept)
    assert {mark.zero for mark in marks} == {True, False}
    page = list(views.show(f"run={run}&view=recorded&step=3"))[-1]
    zero = sum(mark.zero for mark in marks if mark.step == 3)
    assert f"Here step 3: {zero} of 2 groups without spread." in page
    assert page.count('class="bar') == 8


def test_search_leads_to_the_groups_that_hold_the_text(run: str) -> None:
    last = recorded_groups.load_recorded(run, 8, 1)
    text = next(a.completion for a in last.candidates if a.source == "careful")[8:60]
    found = recorded_groups.list_groups(run, text.upper())
    assert (8, 1) in found
    for step, group in found:
        candidates = recorded_groups.load_recorded(run, step, group).candidates
        assert any(text.lower() in action.completion.lower() for action in candidates)
    state = recorded.act("search", recorded.State(run, 1, 0), {"search": text})
    assert (state.step, state.group) == found[0]
    for place in found[1:]:
        state = recorded.act("next", state, {})
        assert (state.step, state.group) == place
    assert recorded.act("next", state, {}) == state
    assert recorded.load(state)["next"]["value"] == "Last group"


def test_what_another_rule_would_have_kept_is_what_it_keeps(run: str) -> None:
    group = recorded_groups.load_recorded(run, *recorded_groups.opening_group(run))
    size = sum(action.source == POLICY for action in group.candidates)
    own, *others = whatif.outcomes(group, "policy", "none")
    assert tuple(own.advantages) == group.kept and not own.differs
    assert [outcome.rule for outcome in others] == list(SELECTION_RULES)
    for outcome in others:
        made = build_group(
            group.sample,
            group.candidates,
            group.rewards,
            rule=outcome.rule,
            group_size=size,
            baseline="policy",
            scale_rewards="none",
        )
        assert outcome.advantages == dict(zip(made.kept, made.advantages, strict=True))
        assert outcome.differs == (made.kept != group.kept)
    assert any(outcome.differs for outcome in others)


def test_the_pull_of_a_weighting_is_its_formula() -> None:
    item = benchmarks.load_sample(PAIR)
    scored = replace(Action("x", "api", "m"), logprobs=(math.log(0.5),) * 2)
    actions = [Action("x", POLICY, "m"), scored]
    reward = RewardBreakdown({"accuracy": 0.0}, {"accuracy": 1.0}, False)
    group = build_group(item, actions, [reward] * 2, group_size=1)
    pulls = {
        pull.weighting: pull.values for pull in whatif.pulls(group, {"shaped": {"gamma": 0.5}})
    }
    assert pulls["policy_ratio"] == pytest.approx([1.0] * 5)
    assert pulls["shaped"] == pytest.approx(
        [0.5 * p / (p + 0.5) ** 2 for p in whatif.PROBABILITIES]
    )
    assert pulls["decoupled"] == pytest.approx([min(p / 0.5, 2) for p in whatif.PROBABILITIES])
    silent = build_group(item, [actions[0]], [reward], group_size=1)
    without = {pull.weighting: pull.values for pull in whatif.pulls(silent, {})}
    assert without["decoupled"] is None and without["shaped"] is not None


@pytest.mark.parametrize("task", ["counting", "geometry", "transformation"])
@pytest.mark.parametrize("style", ["short", "walk"])
def test_the_notation_is_explained_by_a_true_chain_in_the_style_of_the_group(
    task: str, style: str
) -> None:
    import random

    item = benchmarks.load_samples("mini", task=task, split="test", limit=1)[0]
    chain = write_chain(item, style=style, rng=random.Random(0), fault="wrong_answer")
    found = notation.explain_notation(item, [chain])
    assert found is not None and found.style == style and found.words != found.short
    text = completion(" . ".join(found.short) + " .", item.answer)
    assert check_chain(item, text).false_steps == ()
    assert notation.has_grid(item) == (task != "geometry")
    assert bool(found.rows) == (task == "counting" and style == "walk")


def test_the_words_of_the_question_stand_over_the_flags() -> None:
    import random

    item = benchmarks.load_sample(PAIR)
    chain = write_chain(item, style="walk", rng=random.Random(0))
    found = notation.explain_notation(item, [chain])
    assert found is not None
    for word in found.headings[2:]:
        assert word in item.question
    yes = [sum(row[i] == "yes" for row in found.rows) for i in (2, 3)]
    assert " ".join(map(str, yes)) == item.answer
    page = html.render_page(item, (), None, notation=found)
    assert f'<th scope="col">{found.headings[2]}?</th>' in page


def test_identical_chains_are_one_card() -> None:
    same, other = "<think>a</think><answer>0 0</answer>", "<think>b</think><answer>0 0</answer>"
    item = benchmarks.load_sample(PAIR)
    group = group_of(item, *[(POLICY, same)] * 3, (POLICY, other), ("careful", same))
    shown = describe_group(group)
    assert [[c.number for c in card.same] for card in shown.cards] == [[1, 2, 3], [4], [5]]
    page = html.render_page(item, (), shown)
    assert page.count('<article class="card') == 3 and "× 3" in page
    assert "4 actions, 2 different" in page


@pytest.fixture
def own(tmp_path: Path) -> tuple[dict[str, Any], Any]:
    """The config of a run on own data of one sample, and the record of a group of it."""
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    row = {"image": "a.png", "question": "What colour?", "answer": "red"}
    (tmp_path / "train.jsonl").write_text(json.dumps(row), encoding="utf-8")
    (tmp_path / "data.yaml").write_text(
        "name: fruit\ntask: colours\nanswer_type: text\n"
        "columns: {image: image, question: question, answer: answer}\n"
        "splits: {train: train.jsonl}\n",
        encoding="utf-8",
    )
    path = str(tmp_path / "data.yaml")
    config = {
        "name": "own",
        "policy": {"path": "assets/policies/counting"},
        "data": {"benchmark": path, "task": "colours", "split": "train"},
    }
    item = benchmarks.load_samples(path, task="colours", split="train")[0]
    group = group_of(item, (POLICY, "<think>a</think><answer>red</answer>"))
    (record,) = from_rows(to_rows(1, 0, group))
    return config, record


def test_a_recorded_group_of_own_data_has_its_picture(own: tuple[dict[str, Any], Any]) -> None:
    config, record = own
    found = samples.find_sample(config, record)
    assert found.images[0].size == (40, 30)
    page = html.render_page(found, found.images)
    assert "40 × 30 px" in page and 'class="cells"' not in page


def test_a_picture_that_is_not_at_hand_is_said(
    own: tuple[dict[str, Any], Any], tmp_path: Path
) -> None:
    config, record = own
    (tmp_path / "a.png").unlink()
    found = samples.find_sample(config, record)
    assert len(found.images) == 0
    words = samples.why_no_picture(config, found)
    assert words.startswith("No picture: the run's data are not at hand.") and "'a.png'" in words
    assert "No picture:" in html.render_page(found, no_picture=words)
