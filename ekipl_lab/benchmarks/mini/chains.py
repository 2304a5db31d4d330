"""Reference chains: written from the scene, wrong on purpose if asked, and checked step by step.

An oracle teacher is given ``write_chain``; studies report ``check_chain`` before and after
training. Both go by the task of the sample; only samples of the built-in benchmark have chains.
"""

from __future__ import annotations

import random

from ekipl_lab.benchmarks.mini import MINI_TASKS
from ekipl_lab.benchmarks.mini.steps import CHAIN_STYLES, FAULTS, ChainReport
from ekipl_lab.benchmarks.mini.task import MiniTask
from ekipl_lab.benchmarks.seeding import rng_for
from ekipl_lab.errors import DataError, unknown_name
from ekipl_lab.parsing import parse_completion
from ekipl_lab.types import Sample

#: The style in which the shipped policies write.
POLICY_STYLE = "walk"


def write_chain(
    sample: Sample, *, style: str = "short", fault: str = "none", rng: random.Random
) -> str:
    """A whole completion, ``<think>...</think><answer>...</answer>``, for a built-in sample.

    ``fault``: ``wrong_answer`` (false steps or a slip that lead to a wrong answer) or
    ``wrong_chain`` (the right answer behind at least one false step; a sub-skill's chain is its own
    only step, so that its answer is wrong too). Deterministic in ``rng``.
    Raises ConfigError for an unknown style or fault, DataError for a sample without a scene.
    """
    if style not in CHAIN_STYLES:
        raise unknown_name("chain style", style, CHAIN_STYLES)
    if fault not in FAULTS:
        raise unknown_name("chain fault", fault, FAULTS)
    return completion(*_task_of(sample).write(sample, style, fault, rng))


def data_chain(sample: Sample) -> str | None:
    """The right chain of a built-in sample as a completion, in the style that the shipped policies
    write: what a chain of the data is to other benchmarks. None for samples of those."""
    if sample.metadata.get("benchmark") != "mini":
        return None
    return write_chain(sample, style=POLICY_STYLE, rng=rng_for("data_chain", sample.id))


def completion(reasoning: str, answer: str) -> str:
    """A whole completion; the reasoning is padded with single blanks."""
    return f"<think> {reasoning} </think><answer>{answer}</answer>"


def check_chain(sample: Sample, completion: str) -> ChainReport:
    """Every step of a completion checked against the sample's scene, whoever wrote it.

    Raises DataError for a sample that no scene is known of.
    """
    task, parsed = _task_of(sample), parse_completion(completion)
    if parsed.think is None or parsed.answer is None:
        return ChainReport((), (), (completion,), None, False, False)
    return task.check(sample, parsed.think, parsed.answer)


def _task_of(sample: Sample) -> MiniTask:
    if sample.metadata.get("benchmark") != "mini" or sample.task not in MINI_TASKS:
        raise DataError(
            f"Sample {sample.id!r} has no known scene; only samples of the built-in benchmark "
            "have reference chains."
        )
    return MINI_TASKS[sample.task]


__all__ = [
    "CHAIN_STYLES",
    "FAULTS",
    "ChainReport",
    "check_chain",
    "completion",
    "data_chain",
    "write_chain",
]
