"""Wrong studies, warm starts, data, evaluations (kit/wrong_files.py): a sentence, nothing left."""

import pytest
from wrong_files import judged, wrong_commands

#: Every so many of them in each run of the suite; all in the slow proof.
EVERY = 6


def faults(tmp_path, monkeypatch, every):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/store/mlflow.db")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "store").mkdir()
    found = {}
    for name, line in list(wrong_commands(tmp_path / "files"))[::every]:
        if amiss := judged(line, tmp_path / "store"):
            found[name] = amiss
    return found


def test_some_wrong_files_are_refused(tmp_path, monkeypatch):
    assert faults(tmp_path, monkeypatch, EVERY) == {}


@pytest.mark.slow
def test_all_wrong_files_are_refused(tmp_path, monkeypatch):
    assert faults(tmp_path, monkeypatch, 1) == {}
