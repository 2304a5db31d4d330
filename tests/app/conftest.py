"""A store of four small runs for the views of runs: two arms, two seeds each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from mlflow import MlflowClient
from synthetic_runs import RunStore, make_run


@pytest.fixture(scope="session")
def made_runs(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """Made once for all modules; ``run_store`` makes it the store that is looked at."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        made = {}
        for seed in (0, 1):
            for name, gain, teachers in (
                ("grpo", 0.1, ()),
                ("ekipl", 0.5, ("careful", "hostile")),
            ):
                made[f"{name}-s{seed}"] = make_run(
                    f"{name}-s{seed}", gain=gain + seed / 10, teachers=teachers,
                    steps=4, items=6, work=folder / "work", seed=seed,
                )  # fmt: skip
                for step in (0, 2, 4):
                    MlflowClient(f"sqlite:///{folder}/mlflow.db").log_metric(
                        made[f"{name}-s{seed}"], "eval/test/accuracy_greedy", step / 8, step=step
                    )
    return RunStore(folder, made)


@pytest.fixture(scope="module")
def run_store(made_runs: RunStore) -> Iterator[RunStore]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{made_runs.folder}/mlflow.db")
        yield made_runs
