"""kill -9 within a step, a save, an evaluation, a teacher's call: the end is as if it never was.

Three kills here; in the slow proofs (`make verify`) two and then fourteen from outside, and twenty
at random points of a run. All end with the same weights, metrics, records and one MLflow run as the
uninterrupted one, and leave nothing temporary.
"""

import os
import random
import signal
import sqlite3
import time
from contextlib import closing

import pytest
import yaml
from kill_worker import POINTS, command, killed, started
from test_trainer_resume import SETTINGS, assert_same_run, config, whole_run

from ekipl_lab import tracking
from ekipl_lab.training.run import train


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with whole_run(tmp_path_factory.mktemp("kills")) as made:
        yield made


def attempt(folder, name, point, number):
    """Go on with the run until it dies at the point; its exit code (0: it finished first)."""
    said = folder / "said.txt"
    code = killed(folder / "unit.yaml", name, point, number, said)
    assert code in (0, -signal.SIGKILL), said.read_text(encoding="utf-8")[-3000:]
    return code


def continued(folder, name):
    """The run, brought to its end by the same call as any."""
    result = train(config(folder, name))
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


class Watched:
    """A run as it is seen from outside: its files, and the rows of MLflow's database."""

    def __init__(self, folder, name):
        self.store, self.name, self.work = folder, name, folder / "work" / name

    def has(self, pattern):
        return any(self.work.glob(pattern))

    def rows(self, query):
        try:
            database = sqlite3.connect(f"file:{self.store}/mlflow.db?mode=ro", uri=True, timeout=0)
            with closing(database):
                return database.execute(query).fetchone()[0]
        except sqlite3.Error:
            return 0

    def noted(self):
        """Whether ``run.json`` names the MLflow run."""
        path = self.work / "run.json"
        return path.exists() and '"run_id": null' not in path.read_text(encoding="utf-8")


#: A moment in the life of a run -> how it is seen from outside; in their order.
MOMENTS = {
    "the store is made": lambda run: (
        any(run.store.glob(".mlflow.db.new-*")) and run.has("run.json")
    ),
    "the store is there": lambda run: (run.store / "mlflow.db").exists(),
    "in MLflow, not noted": lambda run: (
        run.rows(f"SELECT count(*) FROM runs WHERE name = '{run.name}'") and not run.noted()
    ),
    "noted": lambda run: run.noted(),
    "evaluation begun": lambda run: run.has("evaluation/partial/*/*/*/part-*"),
    "policy saved for MLflow": lambda run: run.has("policies/.step-*"),
    "policy half registered": lambda run: (
        run.rows("SELECT count(*) FROM logged_models") and not run.has("evaluation/step-*.json")
    ),
    "first records": lambda run: any(run.store.glob("artifacts/*/artifacts/groups/*.parquet*")),
    "checkpoint half written": lambda run: (
        run.has("checkpoints/*") and not run.has("checkpoints/*/complete.json")
    ),
    "checkpoint just whole": lambda run: run.has("checkpoints/checkpoint-2/complete.json"),
    "second evaluation": lambda run: run.has("evaluation/partial/step-000004"),
    "second policy registered": lambda run: (
        run.has("evaluation/*/step-000004.parquet") and not run.has("evaluation/step-000004.json")
    ),
    "last policy half saved": lambda run: run.has(".policy.*"),
    "policy there, no result": lambda run: run.has("policy/*") and not run.has("result.json"),
}


def killed_at(moment, folder, name, *overrides):
    """SIGKILL of the plain command once the moment is seen; False if the run ended before."""
    words = ["train", "--config", str(folder / "unit.yaml"), f"name={name}", *overrides]
    uri = f"sqlite:///{folder}/mlflow.db"
    run = Watched(folder, name)
    process = started(
        command, words, folder / "said.txt", MLFLOW_TRACKING_URI=uri, HF_HUB_OFFLINE="1"
    )
    while process.is_alive():
        if MOMENTS[moment](run):
            process.kill()
            break
        time.sleep(0.0005)
    process.join()
    said = (folder / "said.txt").read_text(encoding="utf-8")
    assert process.exitcode in (0, -signal.SIGKILL), said[-3000:]
    return process.exitcode == -signal.SIGKILL


def left_of(folder, result):
    """The files of a run, without ids; nothing temporary is among them, nor in the store."""
    hidden = [path.name for path in folder.rglob(".*") if path.name != ".mlflow.db.lock"]
    assert not hidden and not list(folder.rglob("*.tmp"))
    artifacts = tracking.run_artifact(result.run_id)
    models = [row.folder() for row in tracking.list_checkpoints(result.run_id)]
    return [
        sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
        for root in (result.folder, artifacts, *models)
    ]


@pytest.mark.slow
def test_killed_from_outside_while_it_registers_and_while_it_ends(store):
    folder, _ = store
    short = ("grpo.max_steps=2", "evaluation.sets=[]")
    whole = train(config(folder, "short", *short))
    for moment in ("in MLflow, not noted", "last policy half saved"):
        assert killed_at(moment, folder, "shot", *short), f"{moment}: not seen"
    again = train(config(folder, "shot", *short))
    assert_same_run(again, whole, 2, ())
    assert left_of(folder, again) == left_of(folder, whole)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_killed_from_outside_at_every_moment_of_its_life(tmp_path, monkeypatch):
    """One run in a new store, killed at one moment after the other; moments it missed come again.

    A moment is short, and the watching process may be slow: three runs at most have to do.
    """
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    (tmp_path / "unit.yaml").write_text(yaml.safe_dump(SETTINGS), encoding="utf-8")
    missing, ended = list(MOMENTS), []
    for name in ("one", "two", "three"):
        for moment in list(missing):
            if not killed_at(moment, tmp_path, name):
                break  # it has ended; what was missed comes again in the next run
            print(f"killed: {moment}")
            missing.remove(moment)
        ended.append(train(config(tmp_path, name)))
        if not missing:
            break
    assert missing == []
    whole = train(config(tmp_path, "whole"))
    for result in ended:
        assert_same_run(result, whole)
        assert left_of(tmp_path, result) == left_of(tmp_path, whole)
    models = [path for path in tmp_path.glob("artifacts/models/*") if path.is_dir()]
    assert len(models) == 3 * (len(ended) + 1)
