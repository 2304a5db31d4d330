"""The geometry task of the built-in benchmark; see ``task`` for its families."""

from ekipl_lab.benchmarks.mini.geometry.task import TASK

__all__ = ["TASK"]
