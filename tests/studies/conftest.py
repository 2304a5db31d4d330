"""What the tests of studies share."""

import pytest
from study_kit import write_study


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Two arms from a nano policy; records and store in the test's own folder."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return write_study(tmp_path)
