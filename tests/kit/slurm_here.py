"""A Slurm of one machine in a folder of its own: munge, controller and node, as this user."""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess

from study_kit import wait_for

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
CONFIG = """
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
KillWait=5
ReturnToService=2
SchedulerParameters=sched_interval=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=here Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def _free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def slurm(folder, monkeypatch):
    """Start the three programs; jobs can be submitted inside."""
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        raise AssertionError(
            f"{missing[0]} is missing; `apt-get install slurmctld slurmd slurm-client munge`."
        )
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    values = {"host": socket.gethostname().partition(".")[0], "user": getpass.getuser(),
              "folder": folder, "controller": _free_port(), "node": _free_port(),
              "cpus": os.cpu_count()}  # fmt: skip
    (folder / "slurm.conf").write_text(CONFIG.format(**values))
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    munge = ["munged", "--foreground", "--force"]
    for key, name in {"key-file": "munge.key", "socket": "munge.socket", "seed-file": "seed",
                      "pid-file": "munged.pid", "log-file": "munged.log"}.items():  # fmt: skip
        munge.append(f"--{key}={folder / name}")
    with contextlib.ExitStack() as stack:
        _start(stack, folder, munge)
        wait_for((folder / "munge.socket").exists, "munge's socket")
        _start(stack, folder, ["slurmctld", "-D", "-c"])
        _start(stack, folder, ["slurmd", "-D"])
        wait_for(lambda: _said("sinfo", "--noheader", "--format=%T") == "idle", "an idle node")
        yield


def _start(stack, folder, command):
    log = stack.enter_context((folder / f"{command[0]}.out").open("w"))
    process = subprocess.Popen(command, stdout=log, stderr=log)
    stack.callback(process.wait)
    stack.callback(process.terminate)


def _said(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()
