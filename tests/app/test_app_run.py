"""The page over a real run: recorded groups, live groups, the same through HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from page_kit import Browser, served

from app import live, recorded_groups, runs, server, views
from app.state import to_query
from app.views import live as live_view
from app.views import recorded
from ekipl_lab import benchmarks, records, tracking
from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.groups.build import build_group
from ekipl_lab.policies import PolicySource, build_tiny_policy, save_policy
from ekipl_lab.prompts import instructed_text, prompt_text
from ekipl_lab.training.config.run_config import parse_config
from ekipl_lab.training.run import train

ITEM = "mini/counting/validation/s0/count_pair/000000"


@dataclass(frozen=True)
class Trained:
    """A finished run of two steps with two groups each, and the demo's stand-in config."""

    run: str
    config: dict[str, Any]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    folder = tmp_path_factory.mktemp("app")
    policy = save_policy(*build_tiny_policy("nano", 0), folder / "policy", dtype="float32")
    config = {
        "name": "seen",
        "policy": {"path": str(policy)},
        "teachers": [
            {"type": "oracle", "id": "careful", "style": "short"},
            {"type": "random", "id": "guesser"},
        ],
        "data": {"limit": 8},
        "grpo": {
            "num_generations": 4,
            "per_device_train_batch_size": 8,
            "max_completion_length": 40,
            "max_steps": 2,
        },
        "evaluation": {
            "sets": [{"split": "validation", "limit": 2}],
            "every": 0,
            "at_start": False,
            "sampled": "never",
        },
        "tracking": {"checkpoint_every": 1},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        demo = folder / "demo.yaml"
        demo.write_text(str(parse_config(config).model_dump_json()), encoding="utf-8")
        patch.setattr(live, "DEMO_CONFIG", demo)
        yield Trained(train(parse_config(config)).run_id, config)


def test_the_run_and_its_checkpoints_are_listed(trained: Trained) -> None:
    (choice,) = runs.list_runs()
    assert (choice.id, choice.name, choice.status) == (trained.run, "seen", "FINISHED")
    assert runs.list_checkpoints(trained.run)[0] == "start"
    assert runs.list_checkpoints(trained.run)[-1] == "step-2"
    assert runs.label_checkpoint(trained.run, "step-2") == "step 2 · accuracy 0.00 on validation"
    assert recorded_groups.list_steps(trained.run) == [1, 2]
    assert recorded_groups.count_groups(trained.run, 1) == 2


def test_a_recorded_group_is_the_one_that_was_trained_on(trained: Trained) -> None:
    folder = tracking.run_artifact(trained.run, "groups")
    record = records.load_groups(folder, 2)[1]
    group = recorded_groups.load_recorded(trained.run, 2, 1)
    assert record.differences(group) == []
    assert len(group.candidates) == 6 and len(group.kept) == 4
    assert group.sample.images[0].size == (56, 56)


def test_next_and_previous_cross_the_borders_of_steps(trained: Trained) -> None:
    def move(action: str, step: int, group: int) -> tuple[int, int]:
        state = recorded.State(trained.run, step, group)
        chosen = recorded.act(action, state, {"run": trained.run, "step": step, "group": group})
        return chosen.step, chosen.group

    assert move("next", 1, 0) == (1, 1)
    assert move("next", 1, 1) == (2, 0)
    assert move("next", 2, 1) == (2, 1)
    assert move("previous", 2, 0) == (1, 1)
    assert move("previous", 1, 0) == (1, 0)


@pytest.mark.parametrize("checkpoint", ["start", "step-2"])
def test_a_live_group_is_reproducible_and_built_by_the_library(
    trained: Trained, checkpoint: str
) -> None:
    sample = benchmarks.load_sample(ITEM)
    made = live.live_group(trained.run, checkpoint, sample, 3).group
    again = live.live_group(trained.run, checkpoint, sample, 3).group
    other = live.live_group(trained.run, checkpoint, sample, 4).group
    assert made == again
    assert [a.completion for a in made.candidates[:4]] != [
        a.completion for a in other.candidates[:4]
    ]
    assert [a.source for a in made.candidates] == ["policy"] * 4 + ["careful", "guesser"]
    assert made == build_group(sample, made.candidates, made.rewards, rule="top_g", group_size=4)


@pytest.mark.parametrize("told", [False, True])
def test_a_live_policy_is_asked_as_its_run_asked_it(
    trained: Trained, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    propose = PolicySource.propose_streaming

    def recorded(self: PolicySource, samples: Any, *rest: Any, **named: Any) -> Any:
        asked.extend(prompt_text(sample) for sample in samples)
        return propose(self, samples, *rest, **named)

    monkeypatch.setattr(PolicySource, "propose_streaming", recorded)
    config = trained.config | {"data": trained.config["data"] | {"instructed": told}}
    live.DEMO_CONFIG.write_text(parse_config(config).model_dump_json(), encoding="utf-8")
    sample = benchmarks.load_sample(ITEM)
    try:
        live.live_group("", "start", sample, 0)
    finally:
        original = parse_config(trained.config).model_dump_json()
        live.DEMO_CONFIG.write_text(original, encoding="utf-8")
    assert asked == [instructed_text(sample) if told else sample.question]


def test_a_refused_teacher_action_is_said(trained: Trained) -> None:
    config = trained.config | {"grpo": trained.config["grpo"] | {"max_completion_length": 8}}
    live.DEMO_CONFIG.write_text(parse_config(config).model_dump_json(), encoding="utf-8")
    try:
        made = live.live_group("", "start", benchmarks.load_sample(ITEM), 0)
    finally:
        original = parse_config(trained.config).model_dump_json()
        live.DEMO_CONFIG.write_text(original, encoding="utf-8")
    assert "Refused: careful: too_long, guesser: too_long." in made.note
    assert len(made.group.candidates) == 4


def test_the_stage_shows_the_sample_first_and_then_the_group(trained: Trained) -> None:
    address = to_query("live", live_view.State(trained.run, "step-2", ITEM))
    waiting, first, *growing, last = views.show(address)
    assert live.WAITING in waiting and benchmarks.load_sample(ITEM).question in waiting
    assert "Now step 2 samples 4 actions; teachers: careful (1), guesser (1)." in first
    assert all("card" in page and "Kept" not in page for page in growing)
    assert last.count('<article class="card') == 6
    busy = ['aria-busy="true"' in page for page in (waiting, first, *growing, last)]
    assert all(busy[:-1]) and not busy[-1]  # what *Stop* then says is stopped
    (recorded,) = views.show(f"run={trained.run}&view=recorded&step=1&group=0")
    assert recorded.count('<article class="card') == 6
    assert "Recorded in step 1, group 1." in recorded


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("item=../../etc/passwd", "is no sample id"),
        ("run=nosuchrun&item=" + ITEM, "There is no run"),
        ("run=RUN&checkpoint=step-99&item=" + ITEM, "has no checkpoint"),
        (
            "run=RUN&view=recorded&step=77",
            "Step 77 has no recorded groups",
        ),
        ("run=RUN&view=recorded&step=1&group=9", "Step 1 has 2 groups"),
    ],
)
def test_addresses_that_name_nothing_get_one_sentence(
    trained: Trained, address: str, words: str
) -> None:
    *_, last = views.show(address.replace("RUN", trained.run))
    assert words in last and '<article class="card' not in last


def test_wrong_names_are_errors_of_the_user(trained: Trained) -> None:
    with pytest.raises(ConfigError, match="No run is chosen"):
        runs.checkpoint_folder("", "step-1")
    with pytest.raises(DataError, match="Step 2 has 2 groups"):
        recorded_groups.load_recorded(trained.run, 2, 5)


@pytest.fixture(scope="module")
def address(trained: Trained) -> Iterator[str]:
    with served() as found:
        yield found


def test_a_reader_goes_from_the_latest_run_to_its_recorded_groups(
    trained: Trained, address: str
) -> None:
    page = Browser(address)
    step, group = recorded_groups.opening_group(trained.run)
    shown = to_query("recorded", recorded.State(trained.run, step, group))
    assert page.query == shown
    page.act("mode", "input", "live")
    assert page.query == f"run={trained.run}&checkpoint=step-2&item={ITEM}"
    assert page.stage.count('<article class="card') == 6
    assert page["live-checkpoint"]["value"] == "step-2"
    page.act("mode", "input", "recorded")
    assert page.query == shown
    assert f"Recorded in step {step}, group {group + 1}." in page.stage
    page.act("recorded-step", "submit", 1)
    page.act("recorded-group", "submit", 1)
    page.act("recorded-next", "click")
    assert page.query == f"run={trained.run}&view=recorded&step=1&group=1"
    assert "Recorded in step 1, group 2." in page.stage
    page.act("mode", "input", "live")
    assert page.query.startswith(f"run={trained.run}&checkpoint=step-2&")


def test_a_link_opens_what_it_names_or_says_what_is_not_there(
    trained: Trained, address: str
) -> None:
    page = Browser(address, f"run={trained.run}&view=recorded&step=1&group=1")
    assert page["recorded-group"]["value"] == 2 and page["recorded-step"]["value"] == 1
    gone = Browser(address, f"run={trained.run}&view=recorded&step=9")
    assert "Step 9 has no recorded groups" in gone.stage
    assert gone["recorded-step"]["value"] == 9
    gone.act("recorded-step", "submit", 2)
    assert "Recorded in step 2, group 1." in gone.stage


def test_programs_get_the_same_groups_as_json(trained: Trained, address: str) -> None:
    client = Client(address, verbose=False)
    (listed,) = client.predict(api_name="/list_runs")
    assert (listed["id"], listed["steps"]) == (trained.run, [1, 2])
    item = client.predict("counting", "validation", "all", 0, api_name="/get_item")
    assert item["id"] == ITEM
    made = client.predict(trained.run, "step-2", ITEM, 3, api_name="/live_group")
    group = live.live_group(trained.run, "step-2", benchmarks.load_sample(ITEM), 3).group
    assert [c["raw"] for c in made["candidates"]] == [a.completion for a in group.candidates]
    assert [c["total"] for c in made["candidates"]] == [r.total for r in group.rewards]
    recorded = client.predict(trained.run, 1, 0, api_name="/recorded_group")
    assert recorded["sample_id"] == recorded_groups.load_recorded(trained.run, 1, 0).sample.id
    shown = client.predict(f"run={trained.run}&view=recorded&step=1", api_name="/view")
    assert "Recorded in step 1, group 1." in shown
    with pytest.raises(AppError, match="has no checkpoint 'step-9'"):
        client.predict(trained.run, "step-9", ITEM, 0, api_name="/live_group")


def test_no_file_of_the_project_is_served(trained: Trained, address: str) -> None:
    import httpx

    for path in ("pyproject.toml", str(Path(server.__file__))):
        answer = httpx.get(f"{address}/gradio_api/file={path}")
        assert answer.status_code == 403
    assert httpx.get(address, headers={"host": "evil.example"}).status_code == 403
