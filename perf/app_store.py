"""A store of many runs for `perf/app_load.py`, written by the library's own writers, untrained.

Oracles of rising accuracy play the policy, so that chains, rewards, groups and evaluations have the
very shapes that training writes. The groups of the runs of one arm repeat every ``STOCK`` steps.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from ekipl_lab import tracking
from ekipl_lab.benchmarks import load_samples
from ekipl_lab.evaluation import evaluate, write_records
from ekipl_lab.groups.build import build_group
from ekipl_lab.records import SCHEMA, read_groups
from ekipl_lab.records.schema import to_rows
from ekipl_lab.records.shards import shard_path, write_shard
from ekipl_lab.rewards import get_scorer
from ekipl_lab.training.config.run_config import RunConfig, load_config
from ekipl_lab.types import Action, ActionGroup, GenerationParams, Sample

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/kit"))

from synthetic_runs import player  # noqa: E402

#: Steps whose groups differ; groups of a step; the policy's actions in each; kept ones.
STOCK, GROUPS, OWN, KEPT = 25, 8, 8, 8
#: Actions of two teachers in a group of the arm that has them; half of the runs are of it.
TAUGHT = 4
CONFIGS = {"grpo": "demo_grpo.yaml", "ekipl": "demo_ekipl.yaml"}
RATES = (5e-5, 1e-4, 2e-4, 4e-4, 8e-4)
#: Steps in a merged shard, as `GroupRecordWriter` leaves them; items of the evaluation set.
MERGED, ITEMS = 64, 200
#: A point of every curve each so many steps.
LOGGED = 5
_CURVES = ("loss", "grad_norm", "policy/entropy", "policy/reward", "seconds/step",
           "groups/zero_spread_before", "groups/zero_spread_after", "length/policy",
           "share/policy/kept", "share/careful/kept")  # fmt: skip


def build(folder: Path, runs: int, candidates: int) -> None:
    """``runs`` runs with ``candidates`` recorded candidates in all, in the store of today."""
    steps = round(candidates / (runs * GROUPS * (OWN + TAUGHT / 2)))
    stock = {arm: list(_stock(arm)) for arm in CONFIGS}
    measured = _evaluations(folder)
    for number in range(runs):
        arm = list(CONFIGS)[number % 2]
        rate = RATES[number // 2 % len(RATES)]
        seed = number // (2 * len(RATES))
        loaded = load_config(ROOT / "configs" / CONFIGS[arm])
        name = f"{arm}-{rate:g}"
        config = loaded.model_copy(update={"name": name, "seed": seed})
        _run(config, arm, rate, steps, stock[arm], measured)


def run_ids() -> list[str]:
    """The runs of the store of today, latest first."""
    return [run.run_id for run in tracking.list_runs("load")]


def count() -> int:
    """Candidates recorded in all of them."""
    folders = (tracking.run_artifact(run, "groups") for run in run_ids())
    return sum(read_groups(folder, columns=["step"]).num_rows for folder in folders)


def _run(
    config: RunConfig, arm: str, rate: float, steps: int, stock: Sequence[pa.Table],
    measured: Sequence[tuple[int, Path]],
) -> None:  # fmt: skip
    rng = random.Random(config.seed)
    values = config.model_dump(mode="json")
    values["grpo"]["learning_rate"] = rate
    with tracking.open_run("load", config.name, {"method": arm}, values, {}) as log:
        records = log.folder("groups")
        for first in range(1, steps + 1, MERGED):
            span = range(first, min(first + MERGED, steps + 1))
            tables = [_at(stock[step % STOCK], step) for step in span]
            numbers = (span[0] - 1, span[-1] - 1)
            write_shard(shard_path(records, (span[0], span[-1]), numbers), tables)
        for step in range(LOGGED, steps + 1, LOGGED):
            log.log_metrics({name: rng.random() for name in _CURVES}, step)
        for step, path in measured:
            log.log_metrics({"eval/test/accuracy_greedy": rng.random()}, step)
            log.log_artifact(path, "evaluation/test")


def _at(table: pa.Table, step: int) -> pa.Table:
    steps = pa.array([step] * table.num_rows, pa.int64())
    return table.set_column(0, SCHEMA.field("step"), steps)


def _stock(arm: str) -> Iterator[pa.Table]:
    """The rows of ``STOCK`` steps of an arm."""
    scorer, rng = get_scorer("ekipl/auto"), random.Random(arm)
    data = load_config(ROOT / "configs" / CONFIGS[arm]).data
    samples = load_samples(
        "mini", task="counting", split="train", families=data.families, limit=STOCK * GROUPS
    )
    for step in range(STOCK):
        chosen = samples[step * GROUPS : (step + 1) * GROUPS]
        groups = [_group(sample, arm, step, scorer, rng) for sample in chosen]
        rows = [row for index, one in enumerate(groups) for row in to_rows(0, index, one)]
        yield pa.Table.from_pylist(rows, schema=SCHEMA)


def _group(sample: Sample, arm: str, step: int, scorer: Any, rng: random.Random) -> ActionGroup:
    params = GenerationParams(seed=step)
    policy = player("policy", 0.2 + 0.4 * step / STOCK, seed=step, style="any")
    actions = [_with_tokens(a, rng) for a in policy.propose([sample], OWN, params)[0]]
    for name, accuracy in (("careful", 0.9), ("sloppy", 0.5)) if arm == "ekipl" else ():
        teacher = player(name, accuracy, seed=step)
        actions += teacher.propose([sample], TAUGHT // 2, params)[0]
    rewards = [scorer(sample, action) for action in actions]
    return build_group(sample, actions, rewards, rule="top_g", group_size=KEPT)


def _with_tokens(action: Action, rng: random.Random) -> Action:
    """The action with as many token ids as it would have."""
    count = len(action.completion.split()) + 8
    return replace(action, token_ids=tuple(rng.randrange(2000) for _ in range(count)))


def _evaluations(folder: Path) -> list[tuple[int, Path]]:
    """(step, file) of an evaluation at the start, and of a better one at the end."""
    samples = load_samples("mini", task="counting", split="test", limit=ITEMS)
    scorer, found = get_scorer("ekipl/auto"), []
    for step, accuracy in ((0, 0.3), (100, 0.6)):
        policy = player("policy", accuracy, seed=step)
        path = folder / "measured" / f"step-{step:06d}.parquet"
        write_records(path, evaluate(policy, samples, scorer, mode="greedy"))
        found.append((step, path))
    return found
