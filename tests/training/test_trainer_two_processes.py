"""Two processes: equal weights, whole groups across ranks, and a failure that reaches both."""

import json
import os
import subprocess
import sys

import pytest
from paths import ROOT

WORKER = ROOT / "tests/kit/two_process_worker.py"


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What both ranks saw; see the worker."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone",
               "--nproc_per_node", "2", str(WORKER), str(folder)]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((folder / f"rank-{r}.json").read_text(encoding="utf-8")) for r in (0, 1)]


def test_there_are_two_processes_with_equal_weights(ranks):
    assert [rank["world_size"] for rank in ranks] == [2, 2]
    assert ranks[0]["ekipl"] == ranks[1]["ekipl"]


def test_without_teachers_every_bit_is_trls(ranks):
    assert len({bits for rank in ranks for bits in rank["grpo"]}) == 1
    assert ranks[0]["ekipl"] not in ranks[0]["grpo"]


def test_groups_straddle_ranks_and_their_advantages_sum_to_zero(ranks):
    for first, second in zip(ranks[0]["seen"], ranks[1]["seen"], strict=True):
        samples = first["samples"] + second["samples"]
        advantages = first["advantages"] + second["advantages"]
        sources = first["sources"] + second["sources"]
        # Rows 4 to 7 are one group: two on each rank.
        assert samples[4:8] == samples[4:5] * 4 and len(set(samples)) == 3
        for start in (0, 4, 8):
            assert sum(advantages[start : start + 4]) == pytest.approx(0.0, abs=1e-5)
        assert any(value != 0 for value in advantages)
        assert first["items"] == second["items"] == first["tokens"] + second["tokens"]
        assert any(sources), "no teacher action was kept: the test shows nothing"


def test_one_owner_asks_for_each_group_and_both_ranks_place_it(ranks):
    asked = ranks[0]["asked"] + ranks[1]["asked"]
    # Three groups in each of three steps; the straddling one belongs to rank 0 alone.
    assert len(ranks[0]["asked"]) == 6 and len(ranks[1]["asked"]) == 3 and len(asked) == 9
    assert ranks[0]["shares"] == ranks[1]["shares"]
    assert len(ranks[0]["recorded"]) == 3 and ranks[1]["recorded"] == []
    for step, (first, second) in enumerate(zip(ranks[0]["seen"], ranks[1]["seen"], strict=True)):
        kept_teachers = sum(4 in kept for kept in ranks[0]["recorded"][step])
        assert sum(first["sources"] + second["sources"]) == kept_teachers


def test_refill_moves_rows_between_ranks(ranks):
    """Five of eight prompts teach nothing: others come in wherever their rows were generated."""
    first, second = (rank["refill"] for rank in ranks)
    assert len(first["fits"]) == len(second["fits"]) == 18
    assert all(first["fits"]) and all(second["fits"])
    assert first["digest"] == second["digest"]
    assert first["replaced"] == second["replaced"] and sum(first["replaced"]) >= 1
    assert sum(first["spread"]) >= sum(first["replaced"])
    assert first["completions"] >= 36 + 4 * sum(first["replaced"])


def test_shared_work_under_ddp_has_the_gradients_of_trls_passes(ranks):
    """Whole weights, and an adapter; averaged over both ranks."""
    for ours, theirs in zip(ranks[0]["shared"], ranks[1]["shared"], strict=True):
        assert ours["close"] and theirs["close"] and ours["largest"] > 1e-3
        assert ours["of_all_ranks"] == theirs["of_all_ranks"]


def test_a_teacher_failing_on_one_rank_reaches_both(ranks):
    assert ranks[0]["error"] == "Rank 1 failed: TeacherError: the line is dead"
    assert ranks[1]["error"] == "the line is dead"
