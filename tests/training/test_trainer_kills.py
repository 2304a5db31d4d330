"""kill -9 within a step, a save, an evaluation, a teacher's call: the end is as if it never was.

Three kills here at once, twenty at random points of a run in the slow proof (`make verify`); both
end with the same weights, metrics, records and one MLflow run as the uninterrupted one.
"""

import os
import random
import signal
import subprocess
import sys

import pytest
import yaml
from kill_worker import POINTS
from paths import ROOT
from test_trainer_resume import SETTINGS, assert_same_run

from ekipl_lab import tracking
from ekipl_lab.training.config.run_config import load_config
from ekipl_lab.training.run import train

WORKER = ROOT / "tests/kit/kill_worker.py"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store of its own, with the uninterrupted run in it."""
    folder = tmp_path_factory.mktemp("kills")
    patch = pytest.MonkeyPatch()
    patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    (folder / "unit.yaml").write_text(yaml.safe_dump(SETTINGS), encoding="utf-8")
    yield folder, train(load_config(folder / "unit.yaml", ["name=whole"]))
    patch.undo()


def attempt(folder, name, point, number):
    """Go on with the run until it dies at the point; its exit code (0: it finished first)."""
    command = [sys.executable, str(WORKER), str(folder / "unit.yaml"), name, point, str(number)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    root = str(ROOT)
    environment["PYTHONPATH"] = os.pathsep.join([root, environment.get("PYTHONPATH", "")])
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr[-3000:]
    return done.returncode


def continued(folder, name):
    """The run, brought to its end by the same call as any."""
    result = train(load_config(folder / "unit.yaml", [f"name={name}"]))
    assert result.status == "finished" and len(tracking.list_runs(name=name)) == 1
    return result


def test_killed_in_a_teachers_call_a_save_and_an_evaluation(store):
    folder, whole = store
    for point, number in (("teacher call", 2), ("optimiser of a save", 2), ("evaluation", 1)):
        assert attempt(folder, "three", point, number) == -signal.SIGKILL, point
    assert_same_run(continued(folder, "three"), whole)


@pytest.mark.slow
@pytest.mark.timeout(7200)  # about 40 processes one after the other: the limit for all tests is 600
def test_killed_twenty_times_at_random(store):
    """Every point at least once, the rest and the moments drawn; a run that is done starts anew.

    EKIPL_KILL_SEED=... repeats what an earlier run drew; its seed is printed.
    """
    folder, whole = store
    seed = int(os.environ.get("EKIPL_KILL_SEED") or random.SystemRandom().randrange(2**32))
    print(f"seed {seed}")
    rng = random.Random(seed)
    plan = [*POINTS, *rng.choices(["seconds", *POINTS], k=20 - len(POINTS))]
    rng.shuffle(plan)
    kills, runs = 0, 0
    while kills < 20:
        name = f"twenty-{runs}"
        while kills < 20:
            point = plan[kills]
            number = round(rng.uniform(8, 20), 2) if point == "seconds" else rng.randint(1, 3)
            if attempt(folder, name, point, number) == 0:
                break  # it finished first; the point is tried in the next run
            print(f"kill {kills + 1}: {point}, {number}")
            kills += 1
        assert_same_run(continued(folder, name), whole)
        runs += 1
