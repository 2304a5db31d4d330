"""Two machines (torchrun nodes on loopback): rank 0 decides, both measure, shards load together."""

import json
import os
import socket
import subprocess
import sys

import pytest
from paths import ROOT

WORKER = ROOT / "tests/kit/nodes_worker.py"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    """What both machines saw; see the worker."""
    folder = tmp_path_factory.mktemp("nodes")
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2",
               "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "test",
               "--rdzv-endpoint", f"127.0.0.1:{free_port()}"]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    started = [
        subprocess.Popen(
            [*command, *host, str(WORKER), str(folder)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for host in (["--rdzv-conf", "is_host=true"], ["--rdzv-conf", "is_host=false"])
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=400)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], "\n".join(said)[-4000:]
    return [json.loads((folder / f"rank-{r}.json").read_text(encoding="utf-8")) for r in (0, 1)]


def test_both_machines_train_one_run_and_agree_that_it_has_finished(nodes):
    assert nodes[0]["first"] == nodes[1]["first"] == nodes[0]["again"] == nodes[1]["again"]
    assert nodes[0]["first"][:2] == ["finished", 1]


def test_no_rank_loads_weights_before_the_others(nodes):
    """With a rank that waited for another's loading the first collective in it would hang."""
    for node in nodes:
        assert node["loads"] and set(node["loads"]) == {2}
    assert len(nodes[0]["loads"]) >= len(nodes[1]["loads"]) >= 1


def test_a_folder_that_is_not_shared_is_refused_on_both_in_one_sentence(nodes):
    assert nodes[0]["unshared"] == nodes[1]["unshared"]
    assert nodes[0]["unshared"].startswith("ConfigError: Rank 1 on ")
    assert "one store that all of them share." in nodes[0]["unshared"]


def test_what_rank_0_refuses_is_refused_on_both(nodes):
    assert nodes[0]["other"] == nodes[1]["other"]
    assert "was started with another config (seed 0 -> 1)" in nodes[0]["other"]


def test_an_evaluation_across_ranks_has_the_records_of_one_process(nodes):
    for node in nodes:
        assert node["same"]  # to the bit, from the same weights in memory
        kept, alone = node["kept"]
        assert len(kept) == 22 and kept == alone


def test_ram_efficient_loading_holds_the_weights_on_rank_0_alone(nodes):
    assert [node["devices"] for node in nodes] == [["cpu"], ["meta"]]
    for node in nodes:
        assert node["sharded"] and node["equal"] and node["generation_config"]


def test_sharded_weights_are_measured_by_both_ranks_at_once(nodes):
    assert nodes[0]["lockstep"] and nodes[1]["lockstep"]


def test_an_error_on_one_rank_ends_the_measuring_on_both(nodes):
    assert nodes[1]["failure"] == "ValueError: a broken item"
    assert nodes[0]["failure"].startswith("OtherFailed: Another rank failed")
