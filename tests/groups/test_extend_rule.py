"""docs/extend/selection_rule.md, executed as it is printed: a new rule in config, group and app."""

import re

import pytest
from paths import ROOT

from app import why
from ekipl_lab.errors import ConfigError
from ekipl_lab.groups.build import build_group
from ekipl_lab.groups.selection import SELECTION_RULES, SelectionRule, get_rule
from ekipl_lab.training.config.run_config import parse_config
from ekipl_lab.types import Action, RewardBreakdown, Sample

PAGE = (ROOT / "docs" / "extend" / "selection_rule.md").read_text(encoding="utf-8")
MODULE, LINE, TEST = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SETTINGS = {"name": "x", "policy": {"build": "nano"}}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """The rule is there for one test: the registry is as before afterwards."""
    monkeypatch.setitem(SELECTION_RULES, "nearest", None)
    names = {"SELECTION_RULES": SELECTION_RULES, "SelectionRule": SelectionRule}
    exec(MODULE, names)
    exec(LINE, names)


def test_the_test_of_the_page_passes():
    names = {"get_rule": get_rule}
    exec(TEST, names)
    (test,) = [value for name, value in names.items() if name.startswith("test_")]
    test()


def test_the_config_takes_the_rule_and_names_its_parameters():
    taken = parse_config({**SETTINGS, "ekipl": {"selection": "nearest"}})
    assert taken.ekipl.selection == "nearest"
    with pytest.raises(
        ConfigError, match="rule 'nearest' 'teacher_row'; did you mean 'teacher_rows"
    ):
        parse_config({**SETTINGS, "ekipl": {"selection": "nearest", "params": {"teacher_row": 1}}})


def test_a_group_is_built_with_it_and_the_app_explains_it():
    rewards = [0.0, 0.5, 1.0, 0.25, 2.0]
    actions = [Action("a", "policy", "p")] * 3 + [Action("a", "t", "t")] * 2
    breakdowns = [RewardBreakdown({"accuracy": r}, {"accuracy": 1.0}, r >= 1) for r in rewards]
    sample = Sample("mini/x", "counting", "train", (), "?", "2", "number")
    group = build_group(sample, actions, breakdowns, rule="nearest", group_size=3)
    assert group.kept == (0, 1, 4) and group.rule == "nearest"
    assert [why.explain_candidate(group, i) for i in (1, 2, 3, 4)] == [
        "Kept: rank 3 of 5 by reward; its reward is near the median of the pool.",
        "Dropped: rank 2 of 5 by reward; its reward is far from the median of the pool.",
        "Dropped: rank 4 of 5 by reward; the best teacher actions stay, and no others.",
        "Kept: rank 1 of 5 by reward; the best teacher actions stay, and no others.",
    ]
