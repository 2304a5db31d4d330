"""Static curves: places by hand, names as text, links, and long curves thinned."""

import re
from xml.etree import ElementTree

from ekipl_lab.plots import svg
from ekipl_lab.plots.figures import Point

NAN = float("nan")


def test_points_stand_where_they_belong():
    curve = [Point(0, 0.0), Point(10, 1.0), Point(5, NAN)]
    drawn = svg.draw({"a": curve}, title="accuracy")
    assert re.findall(r'<polyline [^>]*points="([^"]*)"', drawn) == ["46.0,194.0 410.0,10.0"]
    assert "<b>1</b>" in drawn and ElementTree.fromstring(drawn).tag == "figure"


def test_a_band_is_drawn_and_a_single_point_has_a_bar():
    curve = [Point(0, 0.5, 0.4, 0.6), Point(1, 0.5, 0.3, 0.7)]
    assert svg.draw({"a": curve}, title="").count("<polygon") == 1
    alone = svg.draw({"a": curve[:1]}, title="", x="USD")
    assert alone.count("<polygon") == 0 and alone.count("<polyline") == 2 and "USD 0" in alone


def test_names_titles_and_addresses_are_text():
    hostile = '"><script>alert(1)</script>'
    drawn = svg.draw(
        {hostile: [Point(1, 1.0)]}, title=hostile, links={hostile: {1: f"?run={hostile}"}}
    )
    assert "<script" not in drawn and "&lt;script" in drawn
    link = ElementTree.fromstring(drawn).find(".//a")
    assert link is not None and link.attrib["href"] == f"?run={hostile}"


def test_a_click_leads_where_the_nearest_curve_does():
    low, high = [Point(0, 0.0), Point(10, 0.0)], [Point(0, 1.0), Point(10, 1.0)]
    own = {name: {x: f"?{name}{x}" for x in (0, 10)} for name in ("low", "high")}
    drawn = svg.draw({"low": low, "high": high}, title="", links=own)
    parts = re.findall(r'<a href="\?(\w+)"[^>]*><title>([^<]*)</title><rect ([^>]*)/>', drawn)
    assert [(address, title) for address, title, _ in parts] == [
        ("high0", "high, step 0"), ("low0", "low, step 0"),
        ("high10", "high, step 10"), ("low10", "low, step 10"),
    ]  # fmt: skip
    # The frame is 46 to 410 wide, 10 to 194 high: cut in the middle both ways.
    assert parts[0][2] == 'x="46.0" y="10.0" width="182.0" height="92.0"'
    assert parts[3][2] == 'x="228.0" y="102.0" width="182.0" height="92.0"'
    same = {name: {0: "?a", 99: "?b"} for name in ("low", "high", "gone")}
    drawn = svg.draw({"low": low, "high": high, "gone": []}, title="", links=same)
    assert drawn.count("<a ") == 1 and "<title>step 0</title>" in drawn


def test_a_long_curve_has_links_to_its_end_and_not_too_many():
    curve = [Point(x, x % 3) for x in range(5000)]
    own = {"a": {x: f"?step={x}" for x in range(5000)}}
    steps = re.findall(r'href="\?step=(\d+)"', svg.draw({"a": curve}, title="", links=own))
    assert svg.MAX_LINKS / 2 < len(steps) <= svg.MAX_LINKS and steps[-1] == "4999"


def test_long_curves_are_thinned_to_means_and_keep_their_end():
    curve = [Point(x, x % 2) for x in range(10_000)]
    found = svg.thinned(curve)
    assert len(found) <= svg.MAX_POINTS + 1 and found[-1] == curve[-1]
    assert found[0] == Point(12.0, 12 / 25)
    assert svg.thinned(curve[:5]) == curve[:5]


def test_nothing_logged_is_an_empty_frame():
    drawn = svg.draw({"a": []}, title="empty")
    assert "<polyline" not in drawn and "<li" not in drawn
