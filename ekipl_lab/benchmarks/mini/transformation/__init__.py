"""The transformation task of the built-in benchmark; see ``task`` for its families."""

from ekipl_lab.benchmarks.mini.transformation.task import TASK

__all__ = ["TASK"]
