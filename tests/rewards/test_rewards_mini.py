"""The default scorer agrees with the built-in benchmark: chains, faults, ground truths."""

import random

import pytest

from ekipl_lab.benchmarks import load_samples
from ekipl_lab.benchmarks.mini import MINI_TASKS
from ekipl_lab.benchmarks.mini.chains import CHAIN_STYLES, write_chain
from ekipl_lab.benchmarks.mini.stream import study_families
from ekipl_lab.rewards import check_ground_truth, get_scorer
from ekipl_lab.teachers.adapters.random import RandomTeacher, pool_of
from ekipl_lab.types import Action, GenerationParams

SCORE = get_scorer("ekipl/auto")


@pytest.mark.parametrize("task", MINI_TASKS)
@pytest.mark.parametrize("split", ["train", "test_ood"])
def test_chains_earn_what_they_should(task: str, split: str) -> None:
    for sample in load_samples("mini", task=task, split=split, limit=3 * len(study_families(task))):
        check_ground_truth(sample)
        for style in CHAIN_STYLES:
            for fault, success in (("none", True), ("wrong_chain", True), ("wrong_answer", False)):
                chain = write_chain(sample, style=style, fault=fault, rng=random.Random(1))
                scored = SCORE(sample, Action(chain, "oracle", "m"))
                assert (scored.success, scored.components["format"]) == (success, 1.0), chain


@pytest.mark.parametrize("task", MINI_TASKS)
def test_random_answers_from_the_split_are_readable_and_mostly_wrong(task: str) -> None:
    samples = load_samples("mini", task=task, split="train", limit=140)
    rows = RandomTeacher("g", pool=pool_of(samples)).propose(samples, 2, GenerationParams())
    scored = [SCORE(s, a) for s, row in zip(samples, rows, strict=True) for a in row]
    assert all(b.components["format"] == 1.0 and "not a" not in b.explanation for b in scored)
    assert 0 < sum(bool(b.success) for b in scored) < 140  # of 280
