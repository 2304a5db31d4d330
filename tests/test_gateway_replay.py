"""A training run with a paid teacher, replayed from its cache without a network: the same run."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fault_server import FaultServer
from safetensors.torch import load_file

from ekipl_lab import tracking
from ekipl_lab.records import load_groups
from ekipl_lab.training.config import parse_config
from ekipl_lab.training.run import TrainResult, train
from ekipl_lab.types import Action

STEPS = 4


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
        yield tmp_path


def run(store: Path, name: str, url: str, **gateway: Any) -> TrainResult:
    block = {"cache": str(store / "store.sqlite3"), "on_failure": "skip", "reask": 0, **gateway}
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
