"""The built-in procedural benchmark ``mini``: one folder a task, and this registry of them."""

from __future__ import annotations

from ekipl_lab.benchmarks.mini.counting import task as counting
from ekipl_lab.benchmarks.mini.geometry import task as geometry
from ekipl_lab.benchmarks.mini.task import MiniTask
from ekipl_lab.benchmarks.mini.transformation import task as transformation

MINI_TASKS: dict[str, MiniTask] = {
    "counting": counting.TASK,
    "geometry": geometry.TASK,
    "transformation": transformation.TASK,
}
