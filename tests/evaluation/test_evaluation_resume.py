"""A killed evaluation of a real policy goes on at the sample where it was, bit for bit."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from paths import ROOT

from ekipl_lab.benchmarks import load_samples
from ekipl_lab.errors import DataError
from ekipl_lab.evaluation import evaluate, write_records
from ekipl_lab.evaluation.cache import EvaluationCache
from ekipl_lab.policies import PolicySource, load_policy
from ekipl_lab.rewards import get_scorer
from ekipl_lab.types import Action, EvalRecord, GenerationParams

Heard = list[tuple[int, list[Action]]]

POLICY = "assets/policies/counting"
OPTIONS = {"mode": "sampled", "num_samples": 3, "max_new_tokens": 60, "batch_size": 6}
KILLED_AT = 8  # two samples into the second batch of six
#: Long chains and short ones in turn, so that those which end first are not those that stand first.
DATA = {"task": "counting", "split": "test", "families": ("compare", "count_pair"), "limit": 15}

PROGRAM = f"""
import os, signal, sys
import torch
torch.set_num_threads(1)
from ekipl_lab.benchmarks import load_samples
from ekipl_lab.evaluation import evaluate
from ekipl_lab.policies import PolicySource, load_policy
from ekipl_lab.rewards import get_scorer

def progress(done, total):
    if done == {KILLED_AT}:
        os.kill(os.getpid(), signal.SIGKILL)

samples = load_samples("mini", **{DATA!r})
evaluate(PolicySource(load_policy({POLICY!r})), samples, get_scorer("ekipl/auto"),
         cache=sys.argv[1], progress=progress, **{OPTIONS!r})
"""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in the process that is killed: other numbers of threads add up in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def whole_run(cache: Path | None = None) -> list[EvalRecord]:
    source = PolicySource(load_policy(POLICY))
    samples = load_samples("mini", **DATA)  # type: ignore[arg-type]
    return evaluate(source, samples, get_scorer("ekipl/auto"), cache=cache, **OPTIONS)  # type: ignore[arg-type]


def kept(folder: Path) -> list[str]:
    """The samples on disk, in the order in which they were kept."""
    parts = sorted(folder.glob("part-*"))
    lines = [line for part in parts for line in part.read_text().splitlines()]
    return [json.loads(line)["sample_id"] for line in lines]


def test_a_killed_evaluation_continues_at_the_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    cache = tmp_path / "cache"
    command = [sys.executable, "-c", PROGRAM, str(cache)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = kept(cache)
    assert len(before) == KILLED_AT  # the two that had ended in the second batch are there too
    (first_part,) = cache.glob("part-*")
    first_bytes = first_part.read_bytes()
    with first_part.open("ab") as torn:  # as if killed within the next line
        torn.write(first_bytes[:50])

    continued = whole_run(cache)
    assert first_part.read_bytes() == first_bytes + first_bytes[:50]
    after = [json.loads(x)["sample_id"] for x in (cache / "part-000001.jsonl").open()]
    assert len(before) + len(after) == len({*before, *after}) == 15  # nothing is kept twice

    whole = whole_run()
    assert continued == whole  # texts, tokens, log-probabilities, rewards
    write_records(tmp_path / "a.parquet", continued)
    write_records(tmp_path / "b.parquet", whole)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    ids = [record.sample_id for record in whole]
    assert before[6:] != ids[6:8]  # the short ones end first, whatever their place


def test_samples_are_heard_of_while_others_still_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    source = PolicySource(load_policy(POLICY), max_rows=12)
    samples = load_samples("mini", task="counting", split="test", limit=6)
    for params, draws in ((GenerationParams(seed=1), 3), (GenerationParams(0.0, seed=1), 2)):
        heard: Heard = []

        def hear(index: int, actions: list[Action], heard: Heard = heard) -> None:
            heard.append((index, actions))

        rows = source.propose_streaming(samples, draws, params, hear)
        assert sorted(index for index, _ in heard) == list(range(6))
        assert [rows[index] for index, _ in heard] == [actions for _, actions in heard]
        longest = [max(len(a.token_ids or ()) for a in actions) for _, actions in heard]
        batches = (longest[:4], longest[4:]) if draws == 3 else (longest,)
        assert all(batch == sorted(batch) for batch in batches) and len(set(longest)) > 1
        assert source.propose(samples, draws, params) == rows


def test_two_processes_do_not_write_to_one_part(tmp_path: Path) -> None:
    sample = load_samples("mini", task="counting", split="test", limit=1)[0]
    action = Action("x", "policy", "m")
    one, two = EvaluationCache(tmp_path, {}), EvaluationCache(tmp_path, {})
    one.put(sample, [action])
    two.put(sample, [action])
    assert len(list(tmp_path.glob("part-*"))) == 2
    assert EvaluationCache(tmp_path, {}).get(sample) == [action]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    sample = load_samples("mini", task="counting", split="test", limit=1)[0]
    EvaluationCache(tmp_path, {}).put(sample, [Action("x", "policy", "m")])
    (part,) = tmp_path.glob("part-*")
    part.write_text("{broken\n" + part.read_text())
    with pytest.raises(DataError, match=r"part-000000\.jsonl, line 1: damaged"):
        EvaluationCache(tmp_path, {})
