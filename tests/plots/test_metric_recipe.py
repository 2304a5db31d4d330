"""docs/extend/metric.md, run exactly as it is printed; and the table it is about."""

from __future__ import annotations

import re

import pytest
from paths import ROOT

from ekipl_lab.plots.metrics import METRICS, in_report, live_panels

PAGE = (ROOT / "docs/extend/metric.md").read_text(encoding="utf-8")


def test_the_recipe_runs_as_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code, printed) = re.findall(r"```(?:python)?\n(.*?)```", PAGE, re.S)
    monkeypatch.setattr("ekipl_lab.plots.metrics.METRICS", METRICS.copy())
    exec(compile(code, "docs/extend/metric.md", "exec"), {})
    assert capsys.readouterr().out == printed


def test_a_name_stands_for_all_sources() -> None:
    reward = METRICS["reward"]
    names = [reward.of(source) for source in ("policy", "kept", "oracle")]
    assert names == ["policy/reward", "kept/reward", "teacher/oracle/reward"]
    assert METRICS["share_kept"].of("oracle") == "share/oracle/kept"


def test_the_report_reads_what_it_shows_and_leaves_the_rest() -> None:
    read = (
        "policy/reward", "kept/reward", "teacher/a/reward", "teacher/a/refused/too_long",
        "teacher/a/actions", "share/a/kept", "groups/zero_spread_after", "groups/zero_starved",
        "cost/teacher_usd", "seconds/step",
    )  # fmt: skip
    assert all(map(in_report, read))
    left = ("policy/accuracy", "share/a/candidates", "length/policy", "loss", "seconds/rewards")
    assert not any(map(in_report, left))


def test_progress_shows_the_headlines() -> None:
    names = [name for panel in live_panels().values() for name in panel]
    assert names == [
        "policy/reward",
        "kept/reward",
        "share/policy/kept",
        "groups/zero_spread_after",
    ]


def test_progress_shows_the_share_of_each_teacher() -> None:
    panels = live_panels(["careful", "quick"])
    names = ["share/policy/kept", "share/careful/kept", "share/quick/kept"]
    assert panels["kept actions by source"] == names
    assert panels["reward of candidates"] == live_panels()["reward of candidates"]
