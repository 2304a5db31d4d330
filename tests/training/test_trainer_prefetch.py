"""Teachers asked beside the policy's generation and ahead of it: the same run to the bit, nothing
bought twice, in vain, or too much."""

import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fault_server import FaultServer
from paths import ROOT
from safetensors.torch import load_file

from ekipl_lab import tracking
from ekipl_lab.errors import BudgetExceeded, ConfigError
from ekipl_lab.training.config.run_config import parse_config
from ekipl_lab.training.dataset import EpochSampler
from ekipl_lab.training.prefetch import PromptSchedule
from ekipl_lab.training.run import TrainResult, train
from ekipl_lab.training.trainer import EKIPLTrainer

WORKER = ROOT / "tests/kit/prefetch_worker.py"
STEPS, PROMPTS, ACTIONS = 5, 4, 2


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    torch.set_num_threads(1)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    yield tmp_path


def run(
    store: Path,
    name: str,
    url: str,
    generations: int,
    stop_after: int = 0,
    ekipl: dict[str, Any] | None = None,
    policy: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    other: str = "",
    beside: bool = True,
    **gateway: Any,
) -> TrainResult:
    """Five generations of four prompts out of twelve: the second pass begins in the fourth."""
    block = {"cache": str(store / f"{name}.sqlite3"), "fresh_draws": True, **gateway}
    teacher = {
        "type": "openai", "model": "m", "actions": ACTIONS, "gateway": block,
    }  # fmt: skip
    urls = {"api": url, **({"other": other} if other else {})}
    config = {
        "name": name,
        "policy": policy or {"build": "nano"},
        "teachers": [teacher | {"id": id, "base_url": at + "/v1"} for id, at in urls.items()],
        "prefetch": {
            "while_generating": beside,
            "generations": generations,
            "accept_waste": True,
        },
        "ekipl": ekipl or {},
        "data": {"limit": 12, **(data or {})},
        "grpo": {
            "num_generations": 4,
            "per_device_train_batch_size": 4 * PROMPTS,
            "max_completion_length": 40,
            "max_steps": STEPS,
            "learning_rate": 1.0e-3,
        },
        "evaluation": {"sets": [{"limit": 2}], "every": 0, "at_start": False, "sampled": "never"},
        "tracking": {"checkpoint_every": 1},
    }
    steps = []

    def watch(event: Any) -> None:
        if event["phase"] == "training":
            steps.append(event["step"])

    stop = (lambda: bool(steps) and steps[-1] >= stop_after) if stop_after else None
    return train(parse_config(config), on_event=watch, stop=stop)


def weights(result: TrainResult) -> dict[str, torch.Tensor]:
    assert result.policy is not None
    return load_file(result.policy / "model.safetensors")


def assert_equal(first: TrainResult, second: TrainResult) -> None:
    ours, theirs = weights(first), weights(second)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_run_is_the_same_to_the_bit_and_costs_the_same(store: Path) -> None:
    with FaultServer() as server:
        plain = run(store, "plain", server.url, 0, beside=False)
        assert server.tally.received == STEPS * PROMPTS * ACTIONS
        ahead = run(store, "ahead", server.url, 2)
        assert server.tally.received == 2 * STEPS * PROMPTS * ACTIONS  # nothing beyond the end
        whole = run(store, "stopped", server.url, 2, stop_after=2)
        assert whole.status == "stopped" and whole.step < STEPS
        whole = run(store, "stopped", server.url, 2)
        assert server.tally.received == 3 * STEPS * PROMPTS * ACTIONS
        beside = run(store, "beside", server.url, 0)
        assert server.tally.received == 4 * STEPS * PROMPTS * ACTIONS
    for other in (ahead, whole, beside):
        assert_equal(plain, other)
    for name in ("cache_hits", "prefetched"):
        history = tracking.metric_history(beside.run_id).get(f"teacher/api/{name}", [])
        assert not any(value for _, value in history)
    start = load_file(plain.folder / "start" / "model.safetensors")
    assert not all(torch.equal(start[name], value) for name, value in weights(plain).items())


def test_the_next_generation_is_bought_while_this_one_is_trained_on(store: Path) -> None:
    asked: list[int] = []
    with FaultServer() as server:
        original = server.begin

        def begin(number: int, body: dict[str, Any], headers: dict[str, str]) -> str:
            asked.append(body["max_tokens"])
            return original(number, body, headers)

        server.begin = begin  # type: ignore[method-assign]
        run(store, "ahead", server.url, 1, stop_after=1)
        # The first step asks for its own prompts; those of the next are on their way as well.
        assert len(asked) > PROMPTS * ACTIONS


@pytest.mark.parametrize("generations", [0, 1])
def test_teachers_are_asked_side_by_side_while_the_policy_generates(
    store: Path, monkeypatch: pytest.MonkeyPatch, generations: int
) -> None:
    """The policy's first token is not sampled before both teachers have all their calls."""
    generate, waited = EKIPLTrainer._generate_single_turn, []
    with FaultServer() as one, FaultServer() as other:
        asked = [all_asked(server) for server in (one, other)]

        def after_them(trainer: Any, *args: Any, **kwargs: Any) -> Any:
            waited.append([event.wait(300) for event in asked])
            return generate(trainer, *args, **kwargs)

        monkeypatch.setattr(EKIPLTrainer, "_generate_single_turn", after_them)
        run(store, "beside", one.url, generations, stop_after=1, other=other.url)
    assert waited[0] == [True, True]


def all_asked(server: FaultServer) -> threading.Event:
    """Set once a server has been asked as often as one generation asks."""
    event, calls, begin = threading.Event(), itertools.count(1), server.begin

    def counted(number: int, body: dict[str, Any], headers: dict[str, str]) -> str:
        if next(calls) == PROMPTS * ACTIONS:
            event.set()
        return begin(number, body, headers)

    server.begin = counted  # type: ignore[method-assign]
    return event


@pytest.mark.parametrize("on_budget", [pytest.param("abort", marks=pytest.mark.slow), "skip"])
def test_a_budget_is_never_passed(store: Path, on_budget: str) -> None:
    calls = PROMPTS * ACTIONS + 3
    limits = {"budget": {"calls": calls}, "on_budget": on_budget}
    with FaultServer() as server:
        if on_budget == "abort":
            with pytest.raises(BudgetExceeded, match="does not cover sample"):
                run(store, "short", server.url, 3, **limits)
        else:
            assert run(store, "short", server.url, 3, **limits).status == "finished"
        assert server.tally.received == calls
        if on_budget == "abort":  # raised, the same run goes on, and buys nothing again
            whole = run(store, "short", server.url, 1, budget={"calls": 1000})
            assert whole.status == "finished"
            assert server.tally.received == STEPS * PROMPTS * ACTIONS


def test_what_a_gate_closes_after_it_was_bought_is_counted_as_waste(store: Path) -> None:
    """The shipped policy solves some of these prompts by itself, and then nobody else is asked."""
    solved = {"policy": {"path": "assets/policies/counting"}, "data": {"families": ["compare"]}}
    gated = {"teacher_gates": {"api": {"*": "if_unsolved"}}}
    metrics = {}
    with FaultServer() as server:
        for name, generations in (("gated", 0), ("gated_ahead", 1)):
            before = server.tally.received
            done = run(store, name, server.url, generations, ekipl=gated, **solved)
            history = tracking.metric_history(done.run_id)
            metrics[name] = {"bought": server.tally.received - before} | {
                count: sum(value for _, value in history.get(f"teacher/api/{count}", []))
                for count in ("prefetched", "prefetch_used", "prefetch_wasted")
            }
    plain, ahead = metrics["gated"], metrics["gated_ahead"]
    assert plain["bought"] < STEPS * PROMPTS * ACTIONS == ahead["bought"]
    assert plain["prefetched"] == plain["prefetch_wasted"] == 0
    assert ahead["prefetched"] == ahead["prefetch_used"] + ahead["prefetch_wasted"]
    assert ahead["prefetch_wasted"] == ahead["bought"] - plain["bought"] > 0


@pytest.mark.slow
def test_gates_known_beforehand_waste_nothing(store: Path) -> None:
    shares = {"schedules": {"teacher_share": [[0, 0.5]]}}  # known beforehand: no waste
    with FaultServer() as server:
        plain = run(store, "half", server.url, 0, ekipl=shares)
        asked = server.tally.received
        assert 0 < asked < STEPS * PROMPTS * ACTIONS
        ahead = run(store, "half_ahead", server.url, 2, ekipl=shares)
        assert server.tally.received == 2 * asked
    assert_equal(plain, ahead)
    gated = {"teacher_gates": {"api": {"*": "if_unsolved"}}}
    with pytest.raises(ConfigError, match=r"a gate if_unsolved buys actions that may not be used"):
        parse_config(
            {"name": "x", "policy": {"build": "nano"}, "prefetch": {"generations": 1}}
            | {"ekipl": gated}
        )


def test_without_a_gateway_it_is_refused() -> None:
    config = {
        "name": "none",
        "policy": {"build": "nano"},
        "teachers": [{"type": "random", "id": "guesser"}],
        "prefetch": {"generations": 1},
    }
    with pytest.raises(ConfigError, match="no teacher is behind a gateway; leave it at 0"):
        train(parse_config(config | {"data": {"limit": 8}, "grpo": {"max_steps": 1}}))


def arguments(rank: int = 0, world: int = 1, **changes: int) -> Any:
    values = {
        "num_generations": 4,
        "generation_batch_size": 12,
        "steps_per_generation": 1,
        "num_iterations": 1,
        "gradient_accumulation_steps": 1,
    }
    rest = {"seed": 5, "shuffle_dataset": True, "process_index": rank, "world_size": world}
    return SimpleNamespace(**(values | changes | rest))


def places(schedule: PromptSchedule, first: tuple[int, int]) -> list[tuple[int, int]]:
    return list(schedule.following(first))


def test_the_schedule_is_the_samplers() -> None:
    sampler = EpochSampler(range(11), mini_repeat_count=4, batch_size=3, repeat_count=1, seed=5)
    schedule = PromptSchedule(arguments(), 11, steps=8)
    for epoch in (0, 1, 2):
        sampler.set_epoch(epoch)
        rows = list(sampler)
        for number in range(3):
            chunk = rows[12 * number : 12 * number + 12 : 4]
            assert schedule.prompts((epoch, number)) == chunk
            assert all(schedule.find(epoch, index) == (epoch, number) for index in chunk)
    assert schedule.find(0, 99) is None
    assert places(schedule, (1, 1)) == [(1, 1), (1, 2), (2, 0), (2, 1)]  # 8 steps, 3 in a pass


def test_the_schedule_ends_with_the_run_whatever_a_step_holds() -> None:
    twice = PromptSchedule(arguments(num_iterations=2), 12, steps=5)  # two steps on one generation
    assert places(twice, (0, 0)) == [(0, 0), (0, 1), (0, 2)]
    # Two generations a step, three in a pass: its second step has only one.
    pairs = PromptSchedule(arguments(gradient_accumulation_steps=2), 9, steps=3)
    assert places(pairs, (0, 0)) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    assert [pairs.step(place) for place in places(pairs, (0, 0))] == [0, 0, 1, 2, 2]
    assert [twice.step(place) for place in places(twice, (0, 0))] == [0, 2, 4]


def test_every_group_has_one_owner() -> None:
    ranks = [PromptSchedule(arguments(rank, 2), 11, steps=8) for rank in (0, 1)]
    whole = PromptSchedule(arguments(), 11, steps=8)
    first, second = (schedule.prompts((0, 0)) for schedule in ranks)
    assert first + second == whole.prompts((0, 0))
    assert len(first) == 2  # rows 4 to 7 straddle the ranks; rank 0 holds their first


@pytest.mark.slow
def test_two_processes_buy_everything_once_and_train_the_same(store: Path) -> None:
    with FaultServer() as server:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone",
                   "--nproc_per_node", "2", str(WORKER), str(store), server.url]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stderr[-3000:]
        received = server.tally.received
    ranks = [json.loads((store / f"rank-{r}.json").read_text()) for r in (0, 1)]
    assert ranks[0]["world_size"] == 2
    assert len({rank[run] for rank in ranks for run in ("plain", "beside", "ahead")}) == 1
    # Three generations of three groups, one action each, bought once for each of three stores.
    assert received == 3 * 9
    assert [rank["prefetched"] > 0 and rank["wasted"] == 0 for rank in ranks] == [True, True]
