"""Evaluation: run a source on samples, keep the records, summarise and compare them."""

from ekipl_lab.evaluation.chains import ChainCheck, check_chains
from ekipl_lab.evaluation.compare import Comparison, compare, compare_groups
from ekipl_lab.evaluation.records import read_records, write_records
from ekipl_lab.evaluation.run import REASON_RFT_GENERATION, evaluate, generation_params
from ekipl_lab.evaluation.seeds import SeedComparison, compare_seeds
from ekipl_lab.evaluation.summary import MetricRow, summarize

__all__ = [
    "REASON_RFT_GENERATION",
    "ChainCheck",
    "Comparison",
    "MetricRow",
    "SeedComparison",
    "check_chains",
    "compare",
    "compare_groups",
    "compare_seeds",
    "evaluate",
    "generation_params",
    "read_records",
    "summarize",
    "write_records",
]
