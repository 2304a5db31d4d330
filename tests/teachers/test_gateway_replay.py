"""A training run with a paid teacher, replayed from its cache without a network: the same run."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from api_kit import PARAMS, api_gateway, numbered
from fault_server import FaultServer
from safetensors.torch import load_file

from ekipl_lab import tracking
from ekipl_lab.records import load_groups
from ekipl_lab.teachers.gateway.cache_store import Store
from ekipl_lab.teachers.gateway.limits import NANO
from ekipl_lab.teachers.gateway.pricing import Price
from ekipl_lab.teachers.gateway.spending import Spending
from ekipl_lab.training.config.run_config import parse_config
from ekipl_lab.training.run import TrainResult, train
from ekipl_lab.types import Action

STEPS = 4


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
        yield tmp_path


def run(store: Path, name: str, url: str, **gateway: Any) -> TrainResult:
    block = {"cache": str(store / "store.sqlite3"), "on_error": "skip", "reask": 0, **gateway}
    block["price"] = {"input": 1.0, "output": 10.0}
    teacher = {"type": "openai", "id": "api", "actions": 2, "model": "m", "base_url": url + "/v1"}
    config = {
        "name": name,
        "policy": {"build": "nano"},
        "teachers": [teacher | {"gateway": block}],
        "data": {"limit": 8},
        "grpo": {
            "num_generations": 4,
            "per_device_train_batch_size": 16,
            "max_completion_length": 40,
            "max_steps": STEPS,
            "learning_rate": 1.0e-3,
        },
        "evaluation": {"sets": [{"limit": 2}], "every": 0, "at_start": False, "sampled": "never"},
    }
    return train(parse_config(config))


def candidates(result: TrainResult, step: int) -> list[Any]:
    """Groups of a step, but for where an answer was found and how long it took."""
    groups = load_groups(tracking.run_artifact(result.run_id, "groups"), step)

    def plain(action: Action) -> Action:
        return replace(action, usage=None)

    return [replace(g, candidates=tuple(map(plain, g.candidates))) for g in groups]


def test_a_recorded_run_is_replayed_offline_to_the_bit(store: Path) -> None:
    torch.set_num_threads(1)
    with FaultServer(script={-1: ["ok", "ok", "refusal", "ok", "500", "ok"]}) as server:
        recorded = run(store, "recorded", server.url, in_flight=1, backoff=0.0)
        received = server.tally.received
        assert received == 17  # 8 prompts x 2 actions, and one request twice
        url = server.url
    replayed = run(store, "replayed", url, offline=True)
    weights = [load_file(each.policy / "model.safetensors") for each in (recorded, replayed)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    start = load_file(recorded.folder / "start" / "model.safetensors")
    assert not all(torch.equal(weights[0][name], start[name]) for name in start)
    sizes = set()
    for step in range(1, STEPS + 1):
        ours = candidates(replayed, step)
        assert ours == candidates(recorded, step) != []
        sizes |= {len(group.candidates) for group in ours}
    assert sizes == {5, 6}  # the refused action is missing in both

    # The recorded run paid for each action once, the other for none; both used the same.
    with Store(store / "store.sqlite3").read() as db:
        ((paid,),) = db.execute("SELECT sum(nano_usd) FROM calls WHERE state = 'committed'")
    ours, theirs = (tracking.metric_history(each.run_id) for each in (recorded, replayed))
    assert ours["cost/teacher_paid_usd"][-1][1] == pytest.approx(paid / NANO) != 0
    assert theirs["cost/teacher_paid_usd"][-1][1] == 0.0
    assert sum(value for _, value in ours["teacher/api/cost_usd"]) == pytest.approx(paid / NANO)
    assert [value for _, value in theirs["teacher/api/calls"]] == [0.0] * STEPS
    used = [history["cost/teacher_usd"][-1][1] for history in (ours, theirs)]
    assert used[0] == pytest.approx(used[1]) and used[0] > paid / NANO  # each is used twice


def test_what_a_killed_process_paid_is_not_forgotten(tmp_path: Path) -> None:
    price = Price(input=1.0, output=10.0)

    def one(values: list[Any]) -> list[Any]:
        return values

    with FaultServer() as server:
        for already in (0.0, 0.0003, 0.0006):  # 100 tokens in, 20 out: 0.0003 USD an answer
            with api_gateway(server.url, tmp_path, price=price) as gateway:
                spending = Spending([gateway])
                assert spending.resume(tmp_path / "run", one, True) == pytest.approx(already)
                gateway.propose([numbered(round(already * 10_000))], 1, PARAMS)
                assert spending.since()["t"]["cost_usd"] == pytest.approx(0.0003)
                assert spending.since()["t"]["cost_usd"] == 0.0
