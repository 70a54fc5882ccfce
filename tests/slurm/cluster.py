"""A Slurm cluster on this machine, for as long as it is needed: munged, slurmctld, and one slurmd for each node.

    python tests/slurm/cluster.py                 a shell in which sinfo, sbatch and run.py hydra/launcher=slurm work
    python tests/slurm/cluster.py COMMAND ...     one command in it

No root, no systemd, no cgroups. Sockets, keys, state and logs lie in one temporary folder, to which SLURM_CONF points,
and the ports are free ones, so a cluster that this machine belongs to is not touched. The daemons end with this process
however it ends; jobs that outlived a killed one are found by their SLURM_CONF and ended when the next cluster starts.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

PREFIX = "daair-slurm-"
PATIENCE = 120.0  # seconds that the daemons have to come up
HOST = socket.gethostname().split(".")[0]
NODES = (HOST, f"{HOST}-2")
"""The processes of a job meet on its first host: that one needs a name that resolves."""

# cred_expire: a requeued job waits so long before it starts again. GraceTime, KillWait: from SIGTERM to SIGKILL.
CONFIG = """\
ClusterName=daair
SlurmctldHost={host}
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=10
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_min_interval=100000,sched_interval=2,bf_interval=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
KillWait=20
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdSpoolDir={folder}/%n
SlurmdPidFile={folder}/%n.pid
SlurmdParameters=config_overrides
{nodes}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=30
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
"""


@contextlib.contextmanager
def cluster(cpus: int = 2) -> Iterator[dict[str, str]]:
    """Start a cluster; yields the environment in which commands use it, and ends everything after the block.

    Args:
        cpus: of each node, as far as Slurm knows.

    Raises:
        RuntimeError: a daemon does not come up; the text ends with what it wrote.
    """
    remove_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    folder.chmod(0o755)  # munged insists that others can reach its socket
    (folder / "owner").write_text(f"{os.getpid()} {psutil.Process().create_time()}")
    env = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    daemons: list[subprocess.Popen] = []
    try:
        configure(folder, cpus)
        for name, command in commands(folder).items():
            with open(folder / f"{name}.log", "w") as log:
                command = ["setpriv", "--pdeathsig", "TERM", *command]
                daemons.append(subprocess.Popen(command, stdout=log, stderr=log, env=env, start_new_session=True))
            if name == "munged":
                wait_for("munged", folder, (folder / "munge.socket").exists)
        wait_for("nodes", folder, lambda: idle(env) == len(NODES))
        yield env
    finally:
        with contextlib.suppress(Exception):
            subprocess.run(["scancel", "--quiet", "--user", getpass.getuser()], env=env, timeout=10, check=False)
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(10)
        remove(folder)


def configure(folder: Path, cpus: int) -> None:
    """Write munge's key and slurm.conf."""
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    ports = free_ports(1 + len(NODES))
    memory = psutil.virtual_memory().total // 2**20
    nodes = (
        f"NodeName={','.join(NODES)} NodeHostname={HOST} NodeAddr=127.0.0.1 "
        f"Port=[{','.join(map(str, ports[1:]))}] CPUs={cpus} RealMemory={memory}"
    )
    for name in ("state", *NODES):
        (folder / name).mkdir()
    text = CONFIG.format(folder=folder, host=HOST, ports=ports, user=getpass.getuser(), nodes=nodes)
    (folder / "slurm.conf").write_text(text)


def commands(folder: Path) -> dict[str, list[str]]:
    """The daemons, each in the foreground."""
    munge = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munge.pid", "seed-file": "munge.seed"}
    options = [f"--{name}={folder / file}" for name, file in munge.items()]
    nodes = {f"slurmd-{node}": ["slurmd", "-D", "-N", node] for node in NODES}
    return {"munged": ["munged", "-F", *options], "slurmctld": ["slurmctld", "-D"], **nodes}


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on right now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for free in sockets:
            free.bind(("", 0))
        return [free.getsockname()[1] for free in sockets]


def idle(env: dict[str, str]) -> int:
    """How many nodes wait for work."""
    command = ["sinfo", "-h", "-N", "-p", "main", "-o", "%T"]
    answer = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    return answer.stdout.split().count("idle")


def wait_for(what: str, folder: Path, ready) -> None:
    """Wait until `ready()`.

    Raises:
        RuntimeError: not within `PATIENCE`.
    """
    deadline = time.monotonic() + PATIENCE
    while not ready():
        if time.monotonic() > deadline:
            tails = "\n".join(f"{log.name}: {log.read_text()[-1000:]}" for log in sorted(folder.glob("*.log")))
            raise RuntimeError(f"{what}: not up after {PATIENCE:.0f} s\n{tails}")
        time.sleep(0.1)


def members(folder: Path) -> Iterator[psutil.Process]:
    """Every process that belongs to the cluster in `folder`: daemons, steps, jobs and all they started."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("SLURM_CONF") == str(folder / "slurm.conf") and process.pid != os.getpid():
                yield process


def remove(folder: Path) -> None:
    """End what is left of a cluster, and delete its folder."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        left = list(members(folder))
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(sign)
        psutil.wait_procs(left, timeout=5)
    shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers() -> None:
    """End the clusters whose owner was killed before it could."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError, ValueError):
            pid, created = (folder / "owner").read_text().split()
            with contextlib.suppress(psutil.NoSuchProcess):
                if psutil.Process(int(pid)).create_time() == float(created):
                    continue
            remove(folder)


def main() -> int:
    """Run a command, or a shell, in a cluster of its own; returns its exit status."""
    with cluster() as env:
        return subprocess.run(sys.argv[1:] or [os.environ.get("SHELL", "sh")], env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
