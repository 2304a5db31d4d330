"""Imports go down only (docs/architecture.md): every import, lazy ones too, is checked."""

import ast
from graphlib import CycleError, TopologicalSorter

import pytest
from paths import ROOT

PACKAGE = ROOT / "ekipl_lab"

#: The rooms of ekipl_lab from the ground up. Rooms of one tier do not import each other; a tier may
#: import every tier above it in this list.
TIERS = [
    {"errors", "types"},
    {
        "codec",
        "files",
        "images",
        "libraries",
        "parquet",
        "parsing",
        "random_state",
        "secrets",
        "tables",
        "user_code",
    },
    {"validation"},
    {"benchmarks", "plots", "records", "rewards", "statistics", "tracking"},
    {"prompts"},
    {"policies"},
    {"teachers"},
    {"groups"},
    {"evaluation"},
    {"training"},
    {"biaslab", "report", "studies"},
    {"notebook"},
    {"commands"},
    {"__main__"},
]
#: Only these may import the framework, lazily or not.
OWNERS = {
    "mlflow": {"tracking", "commands"},
    "trl": {"training"},
    "gradio": set(),
    "submitit": {"studies"},
    "ray": {"studies"},
}


def module_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(path):
    """Every dotted name that a file imports; ``from a import b`` is ``a.b``."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path.name} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room_of(module):
    return module.split(".")[1]


ROOMS = sorted({room_of(module) for module in FILES if "." in module})


def tier_of(room):
    return next(index for index, tier in enumerate(TIERS) if room in tier)


def test_every_room_has_a_tier_and_every_tier_only_rooms_that_exist():
    assert set(ROOMS) == set().union(*TIERS)


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_down(room):
    wrong = [
        f"{module} imports {name}"
        for module, path in FILES.items()
        if "." in module and room_of(module) == room
        for name in imported(path)
        if name.startswith("ekipl_lab.")
        and (target := name.split(".")[1]) in ROOMS
        and target != room
        and tier_of(target) >= tier_of(room)
    ]
    assert not wrong


def test_no_two_modules_import_each_other_however_far_around():
    arrows = {}
    for module, path in FILES.items():
        if "." not in module:
            continue  # the face: it imports a name when that is first used
        targets = {name if name in FILES else name.rpartition(".")[0] for name in imported(path)}
        arrows[module] = {target for target in targets if target in FILES} - {module}
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("framework", OWNERS)
def test_one_home_per_framework(framework):
    importers = {
        room_of(module)
        for module, path in FILES.items()
        if "." in module and any(name.split(".")[0] == framework for name in imported(path))
    }
    assert importers <= OWNERS[framework]
    assert bool(importers) == bool(OWNERS[framework]), f"the table is stale for {framework}"
