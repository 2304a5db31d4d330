"""Cells run again beside their records: expectations by hand, and the table in the docs."""

import json
import math

import pytest
from paths import ROOT

from ekipl_lab.errors import DataError
from ekipl_lab.studies.record import read_record, read_records_of, write_record
from perf.rerun import AGAIN, DOC, expected, rows, table


def test_what_is_expected_of_one_more_value() -> None:
    """Of 1, 2, 3: mean 2, s = 1, t(2 degrees) = 4.3027, sqrt(1 + 1/3) = 1.1547."""
    low, high = expected([1.0, 2.0, 3.0])
    half = 4.302653 * math.sqrt(4 / 3)
    assert (low, high) == pytest.approx((2 - half, 2 + half), rel=1e-6)


def test_the_table_in_the_docs_is_that_of_the_records() -> None:
    assert table() in DOC.read_text(encoding="utf-8")


def test_a_figure_outside_is_said_and_other_settings_are_refused(tmp_path) -> None:
    path = sorted(AGAIN.glob("counting_recipe/*.json"))[0]
    study = read_records_of(ROOT / "results" / "studies" / "counting_recipe")
    raw = {key: value for key, value in json.loads(path.read_text()).items() if key != "sha256"}
    raw["final"]["test"]["all"]["accuracy_greedy"] = 0.01
    write_record(tmp_path / "far.json", raw)
    far = read_record(tmp_path / "far.json")
    assert [row[-1] for row in rows(far, study)][:2] == ["**no**", "yes"]
    write_record(tmp_path / "other.json", raw | {"settings": "0"})
    with pytest.raises(DataError, match="other settings"):
        rows(read_record(tmp_path / "other.json"), study)
