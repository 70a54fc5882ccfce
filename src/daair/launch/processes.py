"""Start, watch and stop the processes of one attempt at a run.

Every process of an attempt has the same token in its environment. The token identifies ranks and loader workers even
after their parent died: they run in sessions of their own and outlive a front end that is killed.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from daair.launch import warm, worker
from daair.launch.parents import PARENT, name_as_parent
from daair.launch.warm import TOKEN

SOURCE = Path(__file__).resolve().parents[2]
"""The folder that holds this package: `src/` of a checkout, or `site-packages`."""

TORCH = ("RANK", "LOCAL_", "GROUP_", "ROLE_", "WORLD_SIZE", "MASTER_", "ACCELERATE_", "TORCHELASTIC_")
MPI = ("PMI_", "PMIX_", "OMPI_", "MV2_")
FOREIGN = (*TORCH, *MPI)
"""Prefixes of environment variables set by launchers; those of an outer launcher would mislead ours."""

ONE_MACHINE = {"--num_machines": "1", "--machine_rank": "0", "--main_process_port": "0"}  # port 0 = any free one
"""Flags of `accelerate launch` with which the processes of a run on one machine find each other."""


def command(
    folder: Path,
    processes: int,
    trust: Sequence[str] = (),
    meeting: Mapping[str, str] = ONE_MACHINE,
    threads: str | None = None,
) -> list[str]:
    """Return the command line of the run in `folder`; several processes are started by `accelerate launch`.

    Args:
        processes: The number of processes on all machines together.
        trust: Packages whose classes the run may build.
        meeting: Flags with which the processes find each other.
        threads: The number of CPU threads per process; None = the limit of this process.
    """
    worker = ["-m", "daair.launch.worker", str(folder), *(word for name in trust for word in ("--trust", name))]
    if processes == 1:
        return [sys.executable, *worker]
    flags = {
        "--config_file": str(Path(__file__).with_name("accelerate.yaml")),  # not the user's own
        "--num_processes": str(processes),
        **meeting,
        "--mixed_precision": "no",  # the run's own config decides
        "--dynamo_backend": "no",
        "--num_cpu_threads_per_process": threads or os.environ.get("OMP_NUM_THREADS", "1"),
    }
    arguments = [word for flag in flags.items() for word in flag]
    return [sys.executable, "-m", "daair.launch.ranks", "--multi_gpu", *arguments, *worker]


def environment(devices: Mapping[str, str], cpu: bool, token: str, grace: float) -> dict[str, str]:
    """Return the environment variables of the processes of an attempt.

    Args:
        devices: The variables that select their devices, see `Pool.environment`.
        cpu: Whether they work on the CPU, which Accelerate must know to connect ranks without a GPU.
        token: The token of the attempt.
        grace: Seconds between SIGTERM and SIGKILL; torchrun, which starts several ranks, would give them 30 of its own.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    path = [str(SOURCE), *filter(None, [kept.get("PYTHONPATH")])]
    return {
        **kept,
        **devices,
        **name_as_parent(),
        **({"ACCELERATE_USE_CPU": "true"} if cpu else {}),
        TOKEN: token,
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONUNBUFFERED": "1",
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(math.ceil(grace)),
    }


class Attempt:
    """The running processes of one attempt; `poll` must be called repeatedly.

    An attempt that exceeds its time limit or is stopped gets SIGTERM, and after `grace` seconds all its processes get
    SIGKILL. The remaining processes of an attempt whose first process died are ended in the same way.

    Args:
        log: The file to which all output is appended.
        processes: The number of processes on all machines together.
        timeout: The time limit in seconds; None = no limit.
        grace: Seconds between SIGTERM and SIGKILL.
        forked: Whether to fork a single process from the warm server where that is possible.
    """

    def __init__(
        self,
        folder: Path,
        log: Path,
        processes: int,
        devices: Mapping[str, str],
        *,
        trust: Sequence[str] = (),
        cpu: bool,
        timeout: float | None,
        grace: float,
        meeting: Mapping[str, str] = ONE_MACHINE,
        forked: bool = False,
    ) -> None:
        self.token, self.grace, self.timeout = uuid.uuid4().hex, grace, timeout
        self.timed_out, self.log = False, log
        self.begun = time.monotonic()
        self._kill_at: float | None = None
        self._look_at = 0.0
        line = command(folder, processes, trust, meeting, devices.get("OMP_NUM_THREADS"))
        with open(log, "ab") as output:
            self.log_begin = output.tell()
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
            where = " ".join(f"{name}={value}" for name, value in devices.items())
            output.write(f"== {stamp} {where} {' '.join(line[1:])}\n".encode())
            output.flush()
            variables = environment(devices, cpu, self.token, grace)
            if forked and processes == 1 and warm.available():
                self.process = warm.WarmProcess(_forked, line[3:], variables, log)
                return
            self.process = subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=variables,
                start_new_session=True,  # so that Ctrl-C reaches only the sweep, which then stops its runs
            )

    def poll(self) -> int | None:
        """Return the exit status once all processes have ended (-n: ended by signal n), None before."""
        now = time.monotonic()
        if self.timeout is not None and self._kill_at is None and now > self.begun + self.timeout:
            self.timed_out = True
            self.stop()
        status = self.process.poll()
        if self._kill_at is not None and now > self._kill_at:
            self.kill()
        if status is None or status == 0 and self._kill_at is None:
            return status
        if now < self._look_at:  # reading the table of processes is slow
            return None
        self._look_at = now + 0.3
        left = self.survivors()
        if left and self._kill_at is None:
            self._kill_at = now + self.grace
            for process in left:
                _signal(process, signal.SIGTERM)
        return None if left else status

    def stop(self, told: bool = False) -> None:
        """Ask the run to write a checkpoint and end, by SIGTERM to the first process, which passes it on to its ranks.

        Args:
            told: Whether the process has got the signal already.
        """
        if self._kill_at is None:
            self._kill_at = time.monotonic() + self.grace
            if not told and self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill all processes at once."""
        for process in self.survivors():
            _signal(process, signal.SIGKILL)
        if self.process.poll() is None:
            self.process.kill()

    def survivors(self) -> list[psutil.Process]:
        """Return all living processes of this attempt."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(TOKEN) == self.token and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.Error, OSError):  # ended meanwhile, or owned by another user
                continue
        return found


def _forked() -> None:
    """Do what `python -m daair.launch.worker` does, in a process whose parent is the warm server."""
    os.environ[PARENT] = str(warm.SERVER)
    sys.argv[0] = worker.__file__  # the run records its command
    worker.entry()


def _signal(process: psutil.Process, number: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)
