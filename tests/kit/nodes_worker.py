"""One of two machines of tests/training/test_machines.py; writes what it saw as JSON.

torchrun --nnodes 2 --nproc-per-node 1 ... tests/kit/nodes_worker.py FOLDER
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch
from accelerate import FullyShardedDataParallelPlugin
from accelerate.utils.fsdp_utils import fsdp2_prepare_model

import ekipl_lab.evaluation.run as measuring
import ekipl_lab.policies.load as loading
from ekipl_lab.benchmarks import load_samples
from ekipl_lab.errors import EKIPLError
from ekipl_lab.evaluation import evaluate, read_records
from ekipl_lab.policies.load import load_policy
from ekipl_lab.policies.source import PolicySource
from ekipl_lab.rewards import get_scorer
from ekipl_lab.training.config.check import check_run
from ekipl_lab.training.config.plan import plan_run
from ekipl_lab.training.config.run_config import parse_config
from ekipl_lab.training.evaluator import Evaluator, measured_of, shares
from ekipl_lab.training.guards import leave_processes
from ekipl_lab.training.lockstep import Lockstep, in_lockstep
from ekipl_lab.training.ranks import together
from ekipl_lab.training.run import train
from ekipl_lab.training.setup import RunSetup

RANK = int(os.environ["RANK"])
SETTINGS = {
    "name": "both",
    "policy": {"build": "nano"},
    "data": {"task": "counting", "families": ["count_one"], "limit": 8},
    "grpo": {
        "max_steps": 1,
        "num_generations": 4,
        "per_device_train_batch_size": 4,
        "max_completion_length": 6,
    },
    "evaluation": {
        "sets": [{"split": "test", "limit": 11}],
        "num_samples": 4,
        "ks": [1, 4],
        "at_end": False,
        "every": 0,
    },
}


def store(folder):
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"


def outcome(action):
    try:
        return action()
    except EKIPLError as error:
        return f"{type(error).__name__}: {error}"


def test_samples():
    return load_samples("mini", task="counting", families=["count_one"], split="test", limit=11)


def measured(policy, samples, mode):
    """Records as a single process makes them."""
    return evaluate(
        PolicySource(policy), samples, get_scorer("ekipl/auto"), mode=mode, num_samples=4,
        max_new_tokens=6, batch_size=measuring.default_batch(1 if mode == "greedy" else 4),
    )  # fmt: skip


def sharded(policy):
    """The policy with its weights sharded over both ranks, by accelerate's own FSDP2 code."""
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        reshard_after_forward=True,
        auto_wrap_policy="transformer_based_wrap",
        cpu_ram_efficient_loading=True,
    )
    accelerator = SimpleNamespace(
        state=SimpleNamespace(fsdp_plugin=plugin),
        device=torch.device("cpu"),
        is_main_process=RANK == 0,
        mixed_precision="no",
    )
    return replace(policy, model=fsdp2_prepare_model(accelerator, policy.model))


def loaded_in_parts(start, result):
    """The policy as FSDP2's RAM-efficient mode loads it: weights on rank 0 alone, then sharded."""
    flags = ("ACCELERATE_USE_FSDP", "FSDP_CPU_RAM_EFFICIENT_LOADING")
    os.environ.update(dict.fromkeys(flags, "true"), FSDP_VERSION="2")
    policy = load_policy(start)
    result["devices"] = sorted({str(p.device) for p in policy.model.parameters()})
    policy = sharded(policy)
    for name in (*flags, "FSDP_VERSION"):
        del os.environ[name]
    whole = load_policy(start)
    plain = dict(whole.model.named_parameters())
    result["sharded"] = all(
        p.to_local().numel() < plain[name].numel()
        for name, p in policy.model.named_parameters()
        if plain[name].dim() > 1
    )
    result["equal"] = all(
        torch.equal(p.full_tensor(), plain[name]) for name, p in policy.model.named_parameters()
    )
    ends = (m.model.generation_config.eos_token_id for m in (policy, whole))
    result["generation_config"] = len(set(map(str, ends))) == 1
    return policy


def said(records):
    """What was said and what it earned, in order; log-probabilities may round in another way."""
    return [
        [r.sample_id, r.mode, [a.completion for a in r.actions], [w.total for w in r.rewards]]
        for r in records
    ]


def measured_in_lockstep(policy, samples, mode):
    """Each rank's share of the samples, other numbers of passes on each."""
    size = measuring.default_batch(1 if mode == "greedy" else 4)
    mine = [samples[i] for i in shares(len(samples), size, 2)[RANK]]
    lockstep = Lockstep(policy)

    def ask():
        return measured(replace(policy, model=lockstep), mine, mode)

    parts = together(lambda: in_lockstep(lockstep, ask))
    found = {record.sample_id: record for part in parts for record in part}
    return [found[sample.id] for sample in samples]


def loading_is_a_collective(loads):
    """From now on no rank loads weights before all do, as where ZeRO-3 splits them while reading;
    how many ranks met is noted in ``loads``."""
    plain = loading._load_model

    def load(*args):
        met = torch.ones(1)
        torch.distributed.all_reduce(met)
        loads.append(int(met))
        return plain(*args)

    loading._load_model = load


def main(folder):
    result = {"loads": []}
    loading_is_a_collective(result["loads"])
    measuring.ROWS_PER_BATCH = 4  # several batches of few items: both ranks have some
    store(folder / "shared")
    config = parse_config(SETTINGS)
    ended = train(config)
    result["first"] = [ended.status, ended.step, ended.run_id]
    again = train(config)
    result["again"] = [again.status, again.step, again.run_id]

    samples, policy = test_samples(), load_policy(start := ended.folder / "start")
    alone = [r for mode in ("greedy", "sampled") for r in measured(policy, samples, mode)]
    setup = RunSetup(
        check_run(config, folder / "again"), plan_run(config), [], {"test": samples}, [], policy
    )
    shared = Evaluator(measured_of(setup), None)._records(
        "test", samples, 0, lambda part, done, total: None
    )
    result["same"] = shared == alone
    kept = read_records(ended.folder / "evaluation" / "test" / "step-000000.parquet")
    result["kept"] = [said(records) for records in (kept, alone)]

    store(folder / f"node-{RANK}")  # nothing here is shared
    result["unshared"] = outcome(lambda: train(config))
    store(folder / "shared")
    other = {**SETTINGS, "seed": 1}
    result["other"] = outcome(lambda: train(parse_config(other)))

    policy = loaded_in_parts(start, result)
    in_parts = [
        r for mode in ("greedy", "sampled") for r in measured_in_lockstep(policy, samples, mode)
    ]
    result["lockstep"] = said(in_parts) == said(alone)
    lockstep = Lockstep(policy)

    def fail():
        if RANK == 1:
            raise ValueError("a broken item")
        return measured(replace(policy, model=lockstep), samples, "greedy")

    try:
        together(lambda: in_lockstep(lockstep, fail))
    except Exception as error:
        result["failure"] = f"{type(error).__name__}: {error}"
    (folder / f"rank-{RANK}.json").write_text(json.dumps(result), encoding="utf-8")
    torch.distributed.barrier()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
    leave_processes()
