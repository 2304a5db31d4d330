"""Teachers asked side by side and early: the same requests and answers, and none after an error."""

import threading
from pathlib import Path
from typing import Any

import pytest
import trainer_toys as toys
from api_kit import api_gateway, numbered
from fault_server import FaultServer

from ekipl_lab.errors import TeacherError
from ekipl_lab.groups.collect import GroupCollector
from ekipl_lab.groups.encoder import policy_encoder
from ekipl_lab.groups.options import EKIPLOptions, StepContext, Teacher
from ekipl_lab.groups.pool import Row
from ekipl_lab.policies.load import as_policy
from ekipl_lab.types import POLICY, Action

COUNT, SIZE = 6, 2
NOW = StepContext()
ROWS = [Row(i // SIZE, Action("x", POLICY, "nano", token_ids=(5,))) for i in range(COUNT * SIZE)]
INDICES = [row.sample_index for row in ROWS]
SAMPLES = [numbered(i) for i in range(COUNT)]


def collector(*gateways: Any, gates: dict[str, Any] | None = None) -> GroupCollector:
    options = EKIPLOptions(teacher_gates=gates or {})
    return GroupCollector(
        SAMPLES, toys.even_scorer, [Teacher(gateway, 2) for gateway in gateways],
        options, policy_encoder(as_policy(*toys.nano()), options, 64),
        group_size=SIZE, max_new_tokens=64,
    )  # fmt: skip


def answers(collector: GroupCollector, early: bool) -> Any:
    if not early:
        return collector.run(ROWS, rank=0, gather=list, context=NOW).pools
    with collector.early(INDICES, rank=0, gather=list, context=NOW):
        return collector.run(ROWS, rank=0, gather=list, context=NOW).pools


def asking_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("asking")]


def told(pools: Any) -> Any:
    """What of the pools does not depend on the clock."""
    return [
        (pool.sample_index, [action.completion for action in pool.actions], pool.rewards,
         [(reply.teacher, reply.refused) for reply in pool.replies], pool.not_asked)
        for pool in pools
    ]  # fmt: skip


def test_early_is_the_same_and_a_failure_is_bought_once(tmp_path: Path) -> None:
    script = {1: ["500"] * 99, 2: ["empty"] * 99, 4: ["500", "ok"]}
    seen = []
    for early in (False, True):
        with (
            FaultServer(script=script) as server,
            api_gateway(server.url, tmp_path / str(early), on_error="skip", retries=2) as gateway,
        ):
            pools = answers(collector(gateway), early)
            stats = gateway.stats
            counts = stats.calls, stats.cache_hits, dict(stats.errors), dict(stats.failures)
            seen.append((told(pools), dict(server.tally.asked), counts))
    assert seen[0] == seen[1]
    assert seen[0][2][3] and not asking_threads()


def test_all_teachers_are_under_way_before_any_is_waited_for(tmp_path: Path) -> None:
    with FaultServer() as one, FaultServer() as other:
        meeting = threading.Barrier(2, timeout=60)  # each server's first answer needs the other
        for server in (one, other):
            server.begin = met(server.begin, meeting)  # type: ignore[method-assign]
        with (
            api_gateway(one.url, tmp_path / "a", timeout=90.0) as first,
            api_gateway(other.url, tmp_path / "b", spec={"id": "u"}, timeout=90.0) as second,
        ):
            solved = {"*": {"*": "if_unsolved"}}  # after the policy's result, and still together
            pools = answers(collector(first, second, gates=solved), early=True)
        assert one.tally.received > 0 < other.tally.received
        assert not meeting.broken and len(pools) == COUNT


def met(begin: Any, meeting: threading.Barrier) -> Any:
    first = threading.Event()

    def waiting(number: int, body: dict[str, Any], headers: dict[str, str]) -> Any:
        if not first.is_set():
            first.set()
            meeting.wait()
        return begin(number, body, headers)

    return waiting


def test_a_gate_that_needs_the_result_keeps_its_teacher_back(tmp_path: Path) -> None:
    gates = {"t": {"*": "if_unsolved"}, "u": {"*": "always"}}
    with FaultServer() as one, FaultServer() as other:
        with (
            api_gateway(one.url, tmp_path / "a") as gated,
            api_gateway(other.url, tmp_path / "b", spec={"id": "u"}) as free,
        ):
            pool = collector(gated, free, gates=gates)
            with pool.early(INDICES, rank=0, gather=list, context=NOW):
                _, given = pool._early["u"]
                assert [len(actions) for actions in given()] == [2] * COUNT  # answered already
                assert "t" not in pool._early and one.tally.received == 0
                batch = pool.run(ROWS, rank=0, gather=list, context=NOW)
        solved = sum(len(p.not_asked) for p in batch.pools)
        assert one.tally.received == 2 * (COUNT - solved)
        assert other.tally.received == 2 * COUNT


def test_an_error_ends_the_asking_of_all(tmp_path: Path) -> None:
    """What fails in the policy's generation, or in one teacher, has no other teacher go on."""
    with (
        FaultServer(latency=0.2) as slow,
        FaultServer(script={i: ["400"] * 99 for i in range(COUNT)}) as broken,
        api_gateway(slow.url, tmp_path / "a", spec={"id": "u"}, in_flight=1) as fine,
        api_gateway(broken.url, tmp_path / "b") as failing,
    ):
        with pytest.raises(TeacherError, match="gave no action"):
            answers(collector(failing, fine), early=True)
        sent = slow.tally.received
        assert sent < 2 * COUNT and not asking_threads()
        pool = collector(fine)
        with (
            pytest.raises(KeyboardInterrupt),
            pool.early(INDICES, rank=0, gather=list, context=NOW),
        ):
            raise KeyboardInterrupt
        assert slow.tally.received < 2 * COUNT and not asking_threads()
        assert fine.ledger.summary().committed == slow.tally.received  # none is lost
        # The gateway itself goes on, and buys only what is missing.
        assert [len(p.actions) for p in answers(pool, early=True)] == [SIZE + 2] * COUNT
        assert slow.tally.received == 2 * COUNT
