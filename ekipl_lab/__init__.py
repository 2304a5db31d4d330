"""EKIPL Lab: a research workbench for Vision-EKIPL (arXiv 2506.06856).

    import ekipl_lab as ek          # loads nothing; every name is imported when it is first used

The names are on one page, docs/notebook_api.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ekipl_lab.benchmarks import load_sample as load_sample
    from ekipl_lab.benchmarks import load_samples as load_samples
    from ekipl_lab.notebook.face import Evaluation as Evaluation
    from ekipl_lab.notebook.face import build_group as build_group
    from ekipl_lab.notebook.face import build_teacher as build_teacher
    from ekipl_lab.notebook.face import compare as compare
    from ekipl_lab.notebook.face import evaluate as evaluate
    from ekipl_lab.notebook.face import load_config as load_config
    from ekipl_lab.notebook.face import load_groups as load_groups
    from ekipl_lab.notebook.face import load_policy as load_policy
    from ekipl_lab.notebook.face import runs as runs
    from ekipl_lab.notebook.face import score as score
    from ekipl_lab.notebook.face import show as show
    from ekipl_lab.notebook.face import write_report as write_report
    from ekipl_lab.notebook.training import LiveTraining as LiveTraining
    from ekipl_lab.training.run import train as train
    from ekipl_lab.types import Action as Action
    from ekipl_lab.types import GenerationParams as GenerationParams

#: Module -> the names that this package lends from it, in the order of a day's work.
_FACE = {
    "benchmarks": ("load_samples", "load_sample"),
    "types": ("Action", "GenerationParams"),
    "notebook.face": (
        "load_policy",
        "build_teacher",
        "score",
        "build_group",
        "load_config",
        "evaluate",
        "Evaluation",
        "compare",
        "runs",
        "load_groups",
        "write_report",
        "show",
    ),
    "training.run": ("train",),
    "notebook.training": ("LiveTraining",),
}
_HOME = {name: module for module, names in _FACE.items() for name in names}

if not TYPE_CHECKING:  # a type checker knows the names above and no others

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*_HOME, *(name for name in globals() if name.startswith("__"))])
