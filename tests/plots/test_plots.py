"""Figures hold the numbers they were given, and colours mean the same everywhere."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

from ekipl_lab.errors import ConfigError
from ekipl_lab.plots import figures as plots
from ekipl_lab.plots.figures import Difference, Point


def test_a_source_has_one_colour_whatever_else_is_shown() -> None:
    both = plots.source_colours(["oracle", "policy", "kept", "stronger"])
    assert both["policy"] == "#0072B2" and both["kept"] == "#222222"
    assert len(set(both.values())) == 4
    assert plots.source_colours(["policy"]) == {"policy": both["policy"]}
    assert plots.source_colours(["stronger", "oracle", "policy", "kept"]) == both


def test_smoothing_is_the_mean_of_the_last_values() -> None:
    curve = [Point(x, y) for x, y in enumerate([1.0, 3.0, 5.0, 7.0])]
    assert [p.y for p in plots.smooth(curve, 3)] == [1.0, 2.0, 3.0, 5.0]
    assert [p.x for p in plots.smooth(curve, 3)] == [0, 1, 2, 3]
    assert plots.smooth(curve, 1) == curve
    assert plots.points([(1, 0.5), (2, math.nan)]) == [Point(1, 0.5)]


def test_learning_curves_show_values_and_their_intervals() -> None:
    curves = {"grpo": [Point(0, 0.2, 0.1, 0.3), Point(10, 0.4, 0.3, 0.6)], "ekipl": [Point(0, 0.5)]}
    figure = plots.learning_curves(curves, title="ID", y_title="accuracy")
    band, grpo, ekipl = figure.data
    assert list(band.x) == [0, 10, 10, 0] and list(band.y) == [0.3, 0.6, 0.3, 0.1]
    assert (list(grpo.x), list(grpo.y)) == ([0, 10], [0.2, 0.4])
    assert (list(ekipl.x), list(ekipl.y)) == ([0], [0.5])
    assert grpo.line.color != ekipl.line.color and grpo.line.dash != ekipl.line.dash
    alone = plots.learning_curves({"ekipl": [Point(0, 0.5)]}, title="", y_title="", arms=[*curves])
    assert alone.data[0].line == ekipl.line, "an arm looks the same where others lack"
    assert figure.layout.yaxis.range == (-0.02, 1.02)
    assert figure.layout.xaxis.title.text == "optimiser steps"


def test_sources_are_stacked_from_the_policy_up() -> None:
    curves = {"oracle": [Point(1, 0.25)], "policy": [Point(1, 0.5)], "another": [Point(1, 0.25)]}
    figure = plots.source_shares(curves, title="shares")
    assert [trace.name for trace in figure.data] == ["policy", "another", "oracle"]
    assert {trace.stackgroup for trace in figure.data} == {"sources"}
    lines = plots.source_lines({**curves, "kept": [Point(1, 1.0)]}, title="r", y_title="reward")
    assert [trace.name for trace in lines.data] == ["policy", "another", "oracle", "kept"]
    assert lines.data[0].line.color == plots.source_colours(["policy"])["policy"]


def test_before_and_after_share_the_arms_colour() -> None:
    pair = ([Point(1, 0.25)], [Point(1, 0.5)])
    figure = plots.before_and_after({"grpo": pair, "ekipl": pair})
    assert [trace.name for trace in figure.data] == [
        "grpo, before selection",
        "grpo, after selection",
        "ekipl, before selection",
        "ekipl, after selection",
    ]
    assert figure.data[0].line.color == figure.data[1].line.color != figure.data[2].line.color
    curves = plots.learning_curves({"grpo": [Point(0, 0)]}, title="", y_title="")
    assert curves.data[0].line.color == figure.data[0].line.color


def test_differences_keep_their_order_and_uneven_intervals() -> None:
    rows = [Difference("a", 0.1, -0.1, 0.2, 64), Difference("b", 0.0, -0.3, 0.1, 32)]
    (trace,) = plots.differences(rows, title="B minus A", x_title="difference").data
    assert list(trace.y) == ["b (n = 32)", "a (n = 64)"]  # plotly draws upwards
    assert list(trace.error_x.array) == pytest.approx([0.1, 0.1])
    assert list(trace.error_x.arrayminus) == pytest.approx([0.3, 0.2])


def test_a_name_is_no_markup() -> None:
    name = "<a href='javascript:alert(1)'>x</a></script>"
    figure = plots.learning_curves({name: [Point(0, 0.5)]}, title=name, y_title="y")
    assert "<a" not in json.dumps(figure.to_dict(), default=str)
    assert "</script>alert" not in figure.to_html(include_plotlyjs=False, full_html=False)


def test_a_figure_can_be_drawn_as_a_file(tmp_path: Path) -> None:
    figure = plots.learning_curves({"grpo": [Point(0, 0.5)]}, title="t", y_title="y")
    if any(map(shutil.which, plots._BROWSERS)):
        path = plots.write_image(figure, tmp_path / "figure.png", width=300, scale=1)
        assert path.read_bytes().startswith(b"\x89PNG")
        assert list(tmp_path.iterdir()) == [path]
    else:
        with pytest.raises(ConfigError, match="chromium"):
            plots.write_image(figure, tmp_path / "figure.png")
