"""perf/learning.py: every option it lists was run, is drawn, and stands in the docs."""

import importlib.util
import json

import pytest
import trainer_toys as toys
from paths import ROOT


@pytest.fixture(scope="module")
def learning():
    spec = importlib.util.spec_from_file_location("learning", ROOT / "perf" / "learning.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_all_options_and_the_measured_figures(learning):
    curves = json.loads(learning.OUT.read_text(encoding="utf-8"))
    assert list(curves) == list(learning.ARMS)
    assert {name: found["settings"] for name, found in curves.items()} == learning.ARMS
    assert {len(found["accuracy"]) for found in curves.values()} == {70}
    assert set().union(*learning.PANELS.values()) == set(curves)
    text = learning.DOC.read_text(encoding="utf-8")
    assert learning.table(curves) in text
    never = [n for n, found in curves.items() if learning.learned_at(found["accuracy"]) is None]
    section = text[text.index("## What learns") : text.index(learning.BEGIN)]
    names = set(never) - {"learning rate 0", "GRPO (no teacher)"}
    assert all(f"`{name}`" in section for name in names), "options that do not learn are named"


def test_learned_at_is_the_end_of_the_first_window(learning):
    curve = [0, 0, 1, 1, 1, 1, 0, 1]
    # windows of five: 3/5, 4/5 at its sixth step
    assert learning.learned_at(curve) == 6
    assert learning.learned_at([0.0] * 9) is None and learning.learned_at([1.0] * 4) is None


@pytest.mark.parametrize("name", ["proposal_ratio", "sft chord_phi"])
def test_an_option_runs(learning, name):
    found = learning.run(learning.ARMS[name], 1, toys.nano(), toys.nano())
    assert found["settings"] == learning.ARMS[name]
    assert len(found["accuracy"]) == len(found["teacher_kept"]) == 1
