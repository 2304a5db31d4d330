"""The published table is complete, and its averages follow the stated convention."""

import pytest

from ekipl_lab.benchmarks.reason_rft.layout import FILES
from ekipl_lab.benchmarks.reason_rft.published import PUBLISHED, TEST_SETS, averages


def test_every_test_file_has_a_column() -> None:
    files = {f.family: (f.task, f.split) for f in FILES if f.split != "train"}
    assert files == TEST_SETS
    assert len(PUBLISHED) == 12 and len({row.model for row in PUBLISHED}) == 12


def test_single_numbers() -> None:
    by_model = {row.model: row.scores for row in PUBLISHED}
    assert by_model["GPT-4o"]["clevr_math"] == 68.10
    assert by_model["Qwen2-VL-2B zero-shot"]["trance"] == 3.78
    assert by_model["Qwen2-VL-7B Reason-RFT"]["trance_right"] == 58.61


def test_averages_go_by_task_first() -> None:
    scores = next(row.scores for row in PUBLISHED if row.model == "Qwen2-VL-2B Reason-RFT")
    found = averages(scores)
    assert found["test"] == pytest.approx((96.80 + 49.03 + 74.61) / 3)
    assert found["test_ood"] == pytest.approx((52.1 + 33.13 + (64.05 + 64.08) / 2) / 3)
    assert averages({name: 1.0 for name in TEST_SETS if name != "trance_left"}) == {"test": 1.0}
