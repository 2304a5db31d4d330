"""What notebooks use to watch training and to show groups and figures."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ElementTree
from io import BytesIO
from pathlib import Path

import plotly.graph_objects as go
import pytest
from PIL import Image

from ekipl_lab.errors import ConfigError
from ekipl_lab.groups.build import build_group
from ekipl_lab.notebook import LiveTraining
from ekipl_lab.notebook.curves import Curves
from ekipl_lab.notebook.show import figure_bundle, group_html
from ekipl_lab.training.config.run_config import parse_config
from ekipl_lab.types import Action, RewardBreakdown, Sample


def training(**changes: object) -> LiveTraining:
    return LiveTraining(parse_config({"name": "watched", "policy": {"build": "nano"}, **changes}))


def test_curves_are_placed_by_value_and_text_is_escaped() -> None:
    panels = (("<reward>", {"policy": [(0, 0.0), (5, 1.0), (10, 0.5)]}),)
    svg = Curves("a < b", panels).svg()
    root = ElementTree.fromstring(svg)
    (line,) = root.iter("{http://www.w3.org/2000/svg}polyline")
    # x from 34 to 288 over steps 0..10, y from 150 (value 0) up to 62 (value 1)
    assert line.attrib["points"] == "34.0,150.0 161.0,62.0 288.0,106.0"
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["a < b", "<reward>", "1", "0", "0", "10", "policy 0.5"]


def test_every_line_is_drawn_and_labelled_within_the_picture() -> None:
    lines = {f"teacher{i}": [(0, 0.0), (1, float(i))] for i in range(7)}
    root = ElementTree.fromstring(Curves("", (("share", lines),)).svg())
    space = "{http://www.w3.org/2000/svg}"
    assert len(list(root.iter(f"{space}polyline"))) == 7
    shown = [text for text in root.iter(f"{space}text") if (text.text or "").startswith("teacher")]
    assert len(shown) == 7
    assert max(float(text.attrib["y"]) for text in shown) < float(root.attrib["height"])


def test_an_empty_or_flat_panel_is_still_a_picture() -> None:
    for curves in ({}, {"flat": [(3, 2.0)]}):
        drawn = Curves("", (("panel", curves),))
        assert ElementTree.fromstring(drawn.svg()).tag.endswith("svg")
        assert Image.open(BytesIO(drawn.png())).size == (600, 434)


def test_the_png_shows_the_line_where_the_svg_has_it() -> None:
    drawn = Curves("", (("reward", {"policy": [(0, 0.0), (5, 1.0), (10, 0.5)]}),))
    picture = Image.open(BytesIO(drawn.png())).convert("RGB")
    # twice the size of the SVG: the line passes through (161, 62) and is not at (161, 140)
    assert picture.getpixel((322, 124)) == (43, 98, 217)
    assert picture.getpixel((322, 280)) == (255, 255, 255)


def test_the_last_picture_of_watching_has_a_png(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, str]] = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, **_: shown.append(bundle))
    training().watch()
    assert set(shown[-1]) == {"image/svg+xml", "image/png", "text/plain"}
    assert shown[-1]["text/plain"] == "watched · waiting"


def test_a_step_that_is_done_again_replaces_its_point() -> None:
    watched = training()
    for step, value in [(1, 0.1), (2, 0.2), (3, 0.3), (2, 0.9)]:
        watched._take({"phase": "training", "step": step, "metrics": {"policy/reward": value}})
    watched._take({"phase": "evaluation", "step": 64, "total": 64, "metrics": {}})
    assert watched.history == {"policy/reward": [(1, 0.1), (2, 0.9)]}
    assert watched.step == 2
    assert "watched · evaluation · step 2" in watched.curves().svg()


def test_what_training_raises_is_raised_where_somebody_looks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    watched = training(data={"task": "no_such_task"})
    with pytest.raises(ConfigError, match="was not started"):
        watched.result()
    watched.start()
    with pytest.raises(ConfigError, match="Unknown task"):
        watched.result()
    assert not watched.running


def test_a_group_table_escapes_what_models_write() -> None:
    sample = Sample("own/1", "counting", "test", (), "<i>How many?</i>", "2", "number")
    actions = [Action("<script>alert(1)</script>", source, "m") for source in ("policy", "<b>t")]
    rewards = [
        RewardBreakdown({"accuracy": value}, {"accuracy": 1.0}, success)
        for value, success in ((0.0, False), (None, None))
    ]
    page = group_html(build_group(sample, actions, rewards, group_size=1))
    assert "<script>" not in page and "<i>" not in page and "<b>t" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "0 ✗" in page and "— not scored" in page
    assert page.count("<tr") == 3 and page.count(">dropped<") == 1


def test_a_figure_keeps_a_picture_or_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, problem = figure_bundle(go.Figure(layout={"title": {"text": "t"}}))
    assert bundle["application/vnd.plotly.v1+json"]["layout"]["title"]["text"] == "t"
    assert ("image/png" in bundle) == (problem == "")
    if "image/png" in bundle:
        assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    monkeypatch.setenv("PATH", "")
    without, problem = figure_bundle(go.Figure())
    assert list(without) == ["application/vnd.plotly.v1+json"]
    assert problem.startswith("Static figures need")


def test_the_curves_of_a_run_with_teachers_show_what_each_of_them_gave() -> None:
    live = training(teachers=[{"type": "random", "id": "guesses"}])
    shares = {"share/policy/kept": 0.75, "share/guesses/kept": 0.25}
    live._take({"phase": "training", "step": 1, "metrics": shares})
    panels = dict(live.curves().panels)
    assert list(panels["kept actions by source"]) == list(shares)
