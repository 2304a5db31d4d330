"""Trains a run of test_trainer_kills.py and kills itself at the n-th call of a function.

python tests/kit/kill_worker.py CONFIG NAME POINT N        POINT: a key of POINTS, or "seconds"

``started`` is a command in a process that others kill.
"""

import functools
import importlib
import multiprocessing
import os
import signal
import sys
import threading

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


def started(words, environment, said):
    """`ekipl WORDS` in a process of its own; what it prints goes to the file ``said``.

    Forked from a server that has imported the libraries once, which takes longer than all else.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["ekipl_lab.training.run", "ekipl_lab.tracking.runlog", "mlflow"]
    )
    process = context.Process(target=command, args=(words, environment, str(said)))
    process.start()
    return process


def command(words, environment, said):
    """What such a process does."""
    os.environ.update(environment)
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    from ekipl_lab.commands import cli

    sys.exit(cli.main(words))


def main(path, name, point, number):
    from ekipl_lab.training.config.run_config import load_config
    from ekipl_lab.training.run import train

    # Names that were imported into other modules would not be watched: import those after arming.
    arm(point, float(number) if point == "seconds" else int(number))
    train(load_config(path, [f"name={name}"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
