"""Several processes, and processes that are killed: paid once, nothing lost, books right."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE

import pytest
from api_kit import PARAMS, api_gateway, evidence, numbered
from fault_server import FaultServer
from paths import ROOT

from ekipl_lab.teachers.gateway.cache import ActionCache
from ekipl_lab.teachers.gateway.cache_store import Store

WORKER = ROOT / "tests/kit/gateway_worker.py"


def start(server: FaultServer, folder: Path, count: int, seed: int) -> subprocess.Popen[str]:
    arguments = [server.url, str(folder), str(count), str(seed), "50"]
    worker = subprocess.Popen(
        [sys.executable, str(WORKER), *arguments], stdin=PIPE, stdout=PIPE, text=True
    )
    assert worker.stdout is not None and worker.stdin is not None
    assert worker.stdout.readline() == "ready\n"
    worker.stdin.write("\n")
    worker.stdin.flush()
    return worker


def finish(worker: subprocess.Popen[str], count: int) -> None:
    lines = worker.communicate()[0].splitlines()
    assert worker.returncode == 0
    assert sorted(lines) == sorted(f"{number} {number}" for number in range(count))


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_two_processes_share_one_cache_without_a_doubled_call(tmp_path: Path, count: int) -> None:
    with FaultServer() as server:
        workers = [start(server, tmp_path, count, seed) for seed in (1, 2)]
        for worker in workers:
            finish(worker, count)
        assert server.tally.received == count
        assert set(server.tally.asked.values()) == {1}
    assert len(ActionCache(Store(tmp_path / "store.sqlite3"))) == count
    evidence("two processes", entries=count, requests=server.tally.received)


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_after_kill_9_nothing_committed_is_asked_again(tmp_path: Path, kills: int) -> None:
    count, rng = 200, random.Random(7)
    with FaultServer(latency=0.02) as server:
        for _ in range(kills):
            before = len(committed_numbers(tmp_path))
            goal = before + rng.randrange(5, count // (kills + 1))
            server.answer_until = server.tally.received + goal - before + 16  # 16 are in flight
            worker = start(server, tmp_path, count, seed=1)
            while len(committed_numbers(tmp_path)) < goal:
                time.sleep(0.005)
            os.kill(worker.pid, signal.SIGKILL)
            worker.communicate()
            committed = committed_numbers(tmp_path)
            assert goal <= len(committed) < count
            server.script |= {
                number: ["401_echo"] * 99 for number in committed
            }  # must not be asked
            check_inequality(server, tmp_path)
        server.answer_until = None
        finish(start(server, tmp_path, count, seed=1), count)
        unresolved = check_inequality(server, tmp_path)
        assert 1 <= unresolved <= 16 * kills
        assert server.tally.faults["401_echo"] == 0
        assert sum(server.tally.asked.values()) - count <= unresolved
        evidence(
            "kill -9",
            kills=kills, samples=count, requests=server.tally.received,
            billed=server.tally.billed, committed=count, unresolved=unresolved,
        )  # fmt: skip


def committed_numbers(folder: Path) -> list[int]:
    with Store(folder / "store.sqlite3").read() as db:
        rows = db.execute("SELECT sample_id, keys FROM calls WHERE state = 'committed'").fetchall()
    assert all(len(json.loads(keys)) == 1 for _, keys in rows)
    return [int(sample_id.removeprefix("test/s")) for sample_id, _ in rows]


def check_inequality(server: FaultServer, folder: Path) -> int:
    with api_gateway(server.url, folder) as gateway:
        summary = gateway.ledger.summary()
        assert len(gateway.ledger.unresolved()) == summary.unresolved
    assert summary.committed <= server.tally.billed <= summary.committed + summary.unresolved
    return summary.unresolved


def test_faults_and_a_kill_together(tmp_path: Path) -> None:
    count = 150
    with FaultServer(seed=11, rate=0.2, faults=("429", "500", "reset", "cut_off")) as server:
        worker = start(server, tmp_path, count, seed=3)
        while server.tally.received < 60:
            time.sleep(0.002)
        os.kill(worker.pid, signal.SIGKILL)
        worker.communicate()
        committed = committed_numbers(tmp_path)
        assert 0 < len(committed) < count
        check_inequality(server, tmp_path)
        server.script |= {number: ["401_echo"] * 99 for number in committed}  # not to be asked
        finish(start(server, tmp_path, count, seed=3), count)
        check_inequality(server, tmp_path)
        assert server.tally.faults["401_echo"] == 0
        with api_gateway(server.url, tmp_path, offline=True) as gateway:
            assert len(gateway.propose([numbered(i) for i in range(count)], 1, PARAMS)) == count
