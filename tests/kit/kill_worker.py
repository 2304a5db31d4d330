"""Trains a run of test_trainer_kills.py and kills itself at the n-th call of a function.

python tests/kit/kill_worker.py CONFIG NAME POINT N SAID     POINT: a key of POINTS, or "seconds"

``started`` is a function in a process that others kill.
"""

import functools
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[2])

#: What is going on -> the function in whose n-th call the process dies (before it does its work).
POINTS = {
    "teacher call": ("ekipl_lab.teachers.adapters.oracle", "OracleTeacher.propose"),
    "generation": ("ekipl_lab.groups.collect", "GroupCollector.run"),
    "step": ("ekipl_lab.training.loss.token_weights", "TokenWeights.apply"),
    "optimiser": ("torch.optim.adamw", "AdamW.step"),
    "records": ("ekipl_lab.records.writer", "write_shard"),
    "weights of a save": ("transformers.trainer", "Trainer._save"),
    "optimiser of a save": ("transformers.trainer", "Trainer._save_optimizer_and_scheduler"),
    "random state of a save": ("transformers.trainer", "Trainer._save_rng_state"),
    "mark of a save": ("ekipl_lab.training.checkpoint", "write_note"),
    "pruning": ("ekipl_lab.training.checkpoint", "prune"),
    "evaluation": ("ekipl_lab.training.evaluator", "Evaluator._rows"),
    "actions of an evaluation": ("ekipl_lab.policies.source", "PolicySource.propose_streaming"),
    "logging": ("ekipl_lab.tracking.runlog", "RunLog.log_metrics"),
    "registering": ("ekipl_lab.tracking.runlog", "RunLog.log_checkpoint"),
}


def die():
    """As a power cut would: nothing is written any more."""
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point, number):
    """Die in the ``number``-th call of the point, or after so many seconds."""
    if point == "seconds":
        timer = threading.Timer(number, die)
        timer.daemon = True
        return timer.start()
    module, path = POINTS[point]
    owner = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original, calls = getattr(owner, name), [0]

    @functools.wraps(original)
    def watched(*args, **kwargs):
        calls[0] += 1
        if calls[0] == number:
            die()
        return original(*args, **kwargs)

    return setattr(owner, name, watched)


def started(target, *arguments, **environment):
    """A process of its own that calls the function, with an environment and the rest as ours.

    Forked from a server that has imported the libraries once, which takes longer than all else.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["ekipl_lab.training.run", "ekipl_lab.tracking.runlog", "mlflow.tracking.client",
         "mlflow.store.tracking.sqlalchemy_store"]
    )  # fmt: skip
    process = context.Process(target=_in_process, args=(target, arguments, environment))
    process.start()
    return process


def _in_process(target, arguments, environment):
    os.environ.update(environment)
    target(*arguments)


def say_to(path, errors=None):
    """What this process prints from now on goes to the file, or its errors to one of their own."""
    for stream, file in ((1, path), (2, errors)):
        if file is None:
            os.dup2(1, stream)
        else:
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)


def command(words, said):
    """`ekipl WORDS`; what it prints goes to the file ``said``."""
    say_to(said)
    from ekipl_lab.commands import cli

    sys.exit(cli.main(words))


def killed(path, name, point, number, said):
    """The exit code of a process that trains the run until it dies at the point; 0: it finished.

    A function that was imported into other modules by its name is watched only in a process that
    arms before it imports them; of a method the class is watched.
    """
    method = "." in POINTS.get(point, ("", ""))[1]
    if method:
        uri = os.environ["MLFLOW_TRACKING_URI"]
        process = started(
            main, str(path), name, point, number, said, MLFLOW_TRACKING_URI=uri, HF_HUB_OFFLINE="1"
        )
        process.join()
        return process.exitcode
    words = [sys.executable, __file__, str(path), name, point, str(number), str(said)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([ROOT, environment.get("PYTHONPATH", "")])
    return subprocess.run(words, env=environment).returncode


def main(path, name, point, number, said):
    say_to(said)
    # Names that were imported into other modules would not be watched: import those after arming.
    arm(point, float(number) if point == "seconds" else int(number))
    from ekipl_lab.training.config.run_config import load_config
    from ekipl_lab.training.run import train

    train(load_config(path, [f"name={name}"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
