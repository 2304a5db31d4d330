"""Wrong configs (kit/wrong_configs.py): `--dry-run` and the run refuse alike, nothing stays."""

import pytest
from wrong_configs import judged, wrong_configs

#: Every so many of them in each run of the suite; all in the slow proof.
EVERY = 14


def faults(tmp_path, monkeypatch, every):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/store/mlflow.db")
    monkeypatch.delenv("EKIPL_REASON_RFT", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = {}
    for name, path, overrides in wrong_configs(tmp_path / "configs")[::every]:
        if amiss := judged(path, overrides, tmp_path / "store"):
            found[name] = amiss
    return found


def test_some_wrong_configs_are_refused_alike(tmp_path, monkeypatch):
    assert faults(tmp_path, monkeypatch, EVERY) == {}


@pytest.mark.slow
def test_all_wrong_configs_are_refused_alike(tmp_path, monkeypatch):
    assert faults(tmp_path, monkeypatch, 1) == {}
