"""The demo, recorded and replayed with the network off: the same groups and weights, to the bit."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from paths import ROOT
from safetensors.torch import load_file

from ekipl_lab import tracking
from ekipl_lab.commands.cli import main
from ekipl_lab.records import load_groups
from ekipl_lab.training.config.run_config import load_config
from ekipl_lab.training.run import TrainResult, train

DEMO = ROOT / "configs" / "demo_ekipl.yaml"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    torch.set_num_threads(1)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    yield tmp_path


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens a connection or asks for an address fails."""

    def refuse(*_: Any) -> Any:
        raise AssertionError("the network is off")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("no_network")
def test_the_network_is_off() -> None:
    with pytest.raises(AssertionError, match="the network is off"):
        socket.create_connection(("127.0.0.1", 9))


def groups(result: TrainResult, step: int) -> list[Any]:
    """The groups of a step, rewards and advantages and all, but for times."""
    found = load_groups(tracking.run_artifact(result.run_id, "groups"), step)
    return [
        replace(group, candidates=tuple(replace(each, usage=None) for each in group.candidates))
        for group in found
    ]


LONG = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("steps", [2, pytest.param(120, marks=LONG)])
@pytest.mark.usefixtures("no_network")
def test_the_demo_is_replayed_to_the_bit(store: Path, steps: int) -> None:
    quick = ["evaluation.at_start=false", "evaluation.at_end=false", "evaluation.every=0"]
    overrides = [f"grpo.max_steps={steps}", *quick]
    out = store / "recording"
    command = ["teach", "record", "--config", str(DEMO), "--out", str(out), *overrides]
    assert main(command) == 0
    assert len((out / "careful.jsonl").read_text().splitlines()) == 8 * steps
    recorded = train(load_config(DEMO, overrides))
    replayed = train(load_config(out / "demo_ekipl_replayed.yaml"))
    assert [recorded.step, replayed.step] == [steps, steps]
    ours, theirs = (load_file(r.policy / "model.safetensors") for r in (recorded, replayed))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    start = load_file(DEMO.parent.parent / "assets/policies/counting/model.safetensors")
    assert any(not torch.equal(ours[name], start[name].float()) for name in start)
    kept = 0
    for step in range(1, steps + 1):
        assert groups(recorded, step) == groups(replayed, step) != []
        kept += sum(
            group.candidates[i].source != "policy"
            for group in groups(replayed, step)
            for i in group.kept
        )
    assert kept > 0
