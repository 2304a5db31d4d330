"""Evaluation: run a source on samples, keep the records, summarise and compare them."""

from ekipl_lab.evaluation.chains import ChainCheck, check_chains
from ekipl_lab.evaluation.compare import Comparison, compare
from ekipl_lab.evaluation.metrics import METRICS, Metric, find_metric
from ekipl_lab.evaluation.records import read_records, write_records
from ekipl_lab.evaluation.run import REASON_RFT_GENERATION, evaluate
from ekipl_lab.evaluation.seeds import SeedComparison, compare_seeds, try_compare_seeds
from ekipl_lab.evaluation.summary import MetricRow, summarize

__all__ = [
    "METRICS",
    "REASON_RFT_GENERATION",
    "ChainCheck",
    "Comparison",
    "Metric",
    "MetricRow",
    "SeedComparison",
    "check_chains",
    "compare",
    "compare_seeds",
    "evaluate",
    "find_metric",
    "read_records",
    "summarize",
    "try_compare_seeds",
    "write_records",
]
