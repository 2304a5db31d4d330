"""Imports go down only (docs/architecture.md): every import, lazy ones too, is checked."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "ekipl_lab"

#: Modules of one tier do not import each other; a tier may import all tiers above it in this list.
TIERS = [
    {"types", "errors"},
    {"prompts", "parsing", "files", "validation"},
    {
        "benchmarks",
        "rewards",
        "selection",
        "advantages",
        "weighting",
        "statistics",
        "records",
        "tracking",
        "policies",
    },
    {"groups", "sources"},
    {"evaluation", "plots", "group_doctor"},
    {"source_figures"},
    {"training"},
    {"report", "studies", "live", "biaslab"},
    {"console", "doctor", "commands", "data_check", "eval_command", "teach"},
    {"comparison"},
    {"cli"},
    {"__main__"},
]
#: Only these may import the framework, lazily or not.
OWNERS = {"mlflow": {"tracking", "doctor"}, "trl": {"training"}, "gradio": {"cli"}}


def top_modules() -> list[str]:
    return sorted(
        path.stem if path.is_file() else path.name
        for path in PACKAGE.iterdir()
        if (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").exists()
    )


def files_of(module: str) -> list[Path]:
    single = PACKAGE / f"{module}.py"
    return [single] if single.exists() else sorted((PACKAGE / module).rglob("*.py"))


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def tier_of(module: str) -> int:
    return next(index for index, tier in enumerate(TIERS) if module in tier)


def test_every_module_has_a_tier():
    assert set(top_modules()) <= set().union(*TIERS)


@pytest.mark.parametrize("module", top_modules())
def test_imports_go_down(module):
    wrong = []
    for path in files_of(module):
        for name in imported(path):
            if not name.startswith("ekipl_lab."):
                continue
            target = name.split(".")[1]
            if target in set(top_modules()) - {module} and tier_of(target) >= tier_of(module):
                wrong.append(f"{path.name} imports {target}")
    assert not wrong


@pytest.mark.parametrize("framework", OWNERS)
def test_one_home_per_framework(framework):
    importers = {
        module
        for module in top_modules()
        for path in files_of(module)
        if any(name.split(".")[0] == framework for name in imported(path))
    }
    assert importers <= OWNERS[framework]
    assert importers, f"nothing imports {framework}: the table is stale"
