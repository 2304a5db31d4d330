"""Reference chains: written from the scene, wrong on purpose if asked, and checked step by step.

An oracle teacher is given ``write_chain``; studies report ``check_chain`` before and after
training. Both go by the task of the sample; only samples of the built-in benchmark have chains.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

from ekipl_lab.benchmarks.mini.chain_report import CHAIN_STYLES, FAULTS, ChainReport
from ekipl_lab.benchmarks.mini.counting import chains as counting_chains
from ekipl_lab.benchmarks.mini.counting import check as counting_check
from ekipl_lab.benchmarks.mini.geometry import chains as geometry_chains
from ekipl_lab.benchmarks.mini.geometry import check as geometry_check
from ekipl_lab.benchmarks.mini.transformation import chains as transformation_chains
from ekipl_lab.benchmarks.mini.transformation import check as transformation_check
from ekipl_lab.errors import DataError, unknown_name
from ekipl_lab.types import Sample

_Writer = Callable[[Sample, str, str, random.Random], str]
_Checker = Callable[[Sample, str], ChainReport]

WRITERS: dict[str, _Writer] = {
    "counting": counting_chains.write,
    "geometry": geometry_chains.write,
    "transformation": transformation_chains.write,
}
CHECKERS: dict[str, _Checker] = {
    "counting": counting_check.check,
    "geometry": geometry_check.check,
    "transformation": transformation_check.check,
}


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
    return _for_task(WRITERS, sample)(sample, style, fault, rng)


def check_chain(sample: Sample, completion: str) -> ChainReport:
    """Every step of a completion checked against the sample's scene, whoever wrote it.

    Raises DataError for a sample that no scene is known of.
    """
    return _for_task(CHECKERS, sample)(sample, completion)


_T = TypeVar("_T")


def _for_task(table: dict[str, _T], sample: Sample) -> _T:
    if sample.metadata.get("benchmark") != "mini" or sample.task not in table:
        raise DataError(
            f"Sample {sample.id!r} has no known scene; only samples of the built-in benchmark "
            "have reference chains."
        )
    return table[sample.task]


__all__ = ["CHAIN_STYLES", "FAULTS", "ChainReport", "check_chain", "write_chain"]
