"""The counting task of the built-in benchmark; see ``task`` for its families."""

from ekipl_lab.benchmarks.mini.counting.task import TASK

__all__ = ["TASK"]
