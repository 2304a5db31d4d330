"""What MLflow's own pages show first: where to land, descriptions, the columns of the list."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ekipl_lab.tracking.queue import retrying

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: MLflow shows a tag of this name as the description of a run or an experiment.
NOTE_TAG = "mlflow.note.content"
#: MLflow nests a run under the one that this tag names.
PARENT_TAG = "mlflow.parentRunId"
#: Address of the app (`ekipl app`) where the environment does not name another.
APP, APP_VARIABLE = "http://127.0.0.1:7860", "EKIPL_APP_URL"
#: Name of the view that `start_address` opens; MLflow reads it from a tag of the experiment.
VIEW = "ekipl"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
_PURPOSES = {
    "demo": "The demo: GRPO, EKIPL and SFT from one warm start (`make demo`).",
    "notebooks": "Runs of the notebooks, each under its own name.",
    "compare": "Comparisons (`ekipl compare`): the arms of each lie under one run.",
}
_HOW = (
    "One line is one training run; arms of a comparison and cells of a study lie under their "
    "parent. Open a run: its description says what it is, **Overview** comes first among its "
    "charts, checkpoints are its output models, and `figures/sources.html` shows every action "
    "source."
)


def experiment_tags(name: str) -> dict[str, str]:
    """Description and list columns of a new experiment."""
    about = _PURPOSES.get(name, "")
    if name.startswith("study-"):
        about = f"The study {name.removeprefix('study-')}: one run for each cell."
    return {NOTE_TAG: f"{about} {_HOW}".strip(), VIEW_TAG: _view()}


def columns(sets: Sequence[str] = ("test", "test_ood")) -> list[str]:
    """Ten columns of the list of runs, beside name, time and duration.

    Accuracies are of the first evaluation set and the second; without a second, of training.
    """
    params = ("method", "task", "seed", "teachers", "selection")
    metrics = [f"eval/{sets[0]}/accuracy_greedy", f"eval/{sets[0]}/pass_at_1"]
    metrics.append(f"eval/{sets[1]}/accuracy_greedy" if len(sets) > 1 else "policy/accuracy")
    metrics += ["groups/zero_spread_after", "cost/teacher_actions"]
    return [*(f"params.`{name}`" for name in params), *(f"metrics.`{name}`" for name in metrics)]


def arrange_list(client: MlflowClient, experiment_id: str, sets: Sequence[str]) -> None:
    """Make the list's accuracies those of these sets; not where the view is not the project's."""
    before = client.get_experiment(experiment_id).tags.get(VIEW_TAG)
    view = json.loads(before or "{}")
    if sets:
        view["selectedColumns"] = columns(sets)
    after = json.dumps(view)
    if before is not None and after != before:
        retrying(client.set_experiment_tag, experiment_id, VIEW_TAG, after)


def _view() -> str:
    """The state of MLflow's list of runs, as its "share" button stores it."""
    return json.dumps(
        {
            "searchFilter": "",
            "orderByKey": "attributes.start_time",
            "orderByAsc": False,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "datasetsFilter": [],
            "modelVersionFilter": "All Runs",
            "selectedColumns": columns(),
        }
    )


def app_link(run_id: str) -> str:
    """Where the app shows a run, as Markdown: the end of its description."""
    address = os.environ.get(APP_VARIABLE, APP).rstrip("/")
    return f"[Its groups and chains]({address}/?run={run_id}), while `ekipl app` runs."


def start_address(client: MlflowClient, root: str) -> str:
    """Where runs are: the list of the experiment with the latest run; else all experiments."""
    kind = "workflowType=machine_learning"
    experiments = {e.experiment_id: e for e in client.search_experiments()}
    latest = client.search_runs(
        list(experiments), order_by=["attributes.start_time DESC"], max_results=1
    )
    if not latest:
        return f"{root}/#/experiments?{kind}"
    found = experiments[latest[0].info.experiment_id]
    view = f"&viewStateShareKey={VIEW}" if VIEW_TAG in found.tags else ""
    return f"{root}/#/experiments/{found.experiment_id}/runs?{kind}{view}"
