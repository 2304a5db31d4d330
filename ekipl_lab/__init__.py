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
    from ekipl_lab.notebook.comparisons import by_group as by_group
    from ekipl_lab.notebook.comparisons import compare_arms as compare_arms
    from ekipl_lab.notebook.comparisons import estimators as estimators
    from ekipl_lab.notebook.comparisons import mixed_groups as mixed_groups
    from ekipl_lab.notebook.comparisons import right_answers as right_answers
    from ekipl_lab.notebook.comparisons import train_seeds as train_seeds
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
    from ekipl_lab.notebook.looking import compare_histories as compare_histories
    from ekipl_lab.notebook.looking import examine as examine
    from ekipl_lab.notebook.looking import figures as figures
    from ekipl_lab.notebook.looking import settings as settings
    from ekipl_lab.notebook.looking import sources as sources
    from ekipl_lab.notebook.looking import spending as spending
    from ekipl_lab.notebook.looking import steps as steps
    from ekipl_lab.notebook.loopback import LoopbackTeacher as LoopbackTeacher
    from ekipl_lab.notebook.measures import over_seeds as over_seeds
    from ekipl_lab.notebook.measures import pilots as pilots
    from ekipl_lab.notebook.measures import plot_metrics as plot_metrics
    from ekipl_lab.notebook.measures import plot_pass_at_k as plot_pass_at_k
    from ekipl_lab.notebook.measures import plot_pilot as plot_pilot
    from ekipl_lab.notebook.measures import plot_power as plot_power
    from ekipl_lab.notebook.measures import plot_widths as plot_widths
    from ekipl_lab.notebook.real_model import dry_run as dry_run
    from ekipl_lab.notebook.real_model import memory as memory
    from ekipl_lab.notebook.real_model import memory_table as memory_table
    from ekipl_lab.notebook.real_model import plot_memory as plot_memory
    from ekipl_lab.notebook.real_model import refusal as refusal
    from ekipl_lab.notebook.real_model import save_small_qwen as save_small_qwen
    from ekipl_lab.notebook.study import list_studies as list_studies
    from ekipl_lab.notebook.study import run_study as run_study
    from ekipl_lab.notebook.study import study as study
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
    "notebook.looking": (
        "settings",
        "figures",
        "steps",
        "sources",
        "examine",
        "compare_histories",
        "spending",
    ),
    "notebook.measures": (
        "plot_metrics",
        "plot_pass_at_k",
        "plot_widths",
        "plot_power",
        "pilots",
        "plot_pilot",
        "over_seeds",
    ),
    "notebook.comparisons": (
        "by_group",
        "estimators",
        "mixed_groups",
        "right_answers",
        "train_seeds",
        "compare_arms",
    ),
    "notebook.study": (
        "study",
        "list_studies",
        "run_study",
    ),
    "notebook.real_model": (
        "memory",
        "memory_table",
        "plot_memory",
        "dry_run",
        "refusal",
        "save_small_qwen",
    ),
    "notebook.loopback": ("LoopbackTeacher",),
}
_HOME = {name: module for module, names in _FACE.items() for name in names}

if not TYPE_CHECKING:  # a type checker knows the names above and no others

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*_HOME, *(name for name in globals() if name.startswith("__"))])
