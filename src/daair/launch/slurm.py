"""Submit runs as jobs of Slurm, by way of submitit (the extra `slurm`).

Runs that ask for the same resources become one array job; each of its elements is a run of its own, so that one failure
touches nobody. Slurm starts one task on each node of a run, a `NodeTask`, which starts the node's share of the run's
processes with the worker in them. They meet on the job's first host, at a port made of the job's number.

What happens to a job on its way:

| Slurm | signal | here |
| --- | --- | --- |
| its time ends soon (`launch.slurm.notice`) | USR2 to every process | checkpoint, back into the queue |
| another job preempts it, with a time of grace | TERM to every process, the job still RUNNING | the same |
| requeued by `scontrol requeue`, or preempted without grace | TERM, then KILL | checkpoint; Slurm queues it again |
| cancelled by `scancel` | TERM, then KILL | checkpoint; the same command submits it again |
| its node dies | none | Slurm queues it again; it goes on from its last checkpoint |

Who was given which job number stands in the run's folder, and whether that job still exists is asked of squeue
(`daair.runs.squeue`).
"""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daair.config.jobs import Job
from daair.config.schema import Config
from daair.errors import UserError, one_line
from daair.launch.pool import THREADS
from daair.launch.processes import ONE_MACHINE, SOURCE, Attempt
from daair.runs import squeue as queue
from daair.runs.record import Record

if TYPE_CHECKING:
    from submitit import JobEnvironment
    from submitit.helpers import DelayedSubmission

LONGEST = 1000
"""Jobs of one array, where a cluster's administrators left MaxArraySize as it is."""


def submit(jobs: Sequence[Job]) -> dict[Path, str]:
    """Submit queued jobs and return the numbers that Slurm gave them, by run folder; the folders hold them from now on.

    Args:
        jobs: All of one `paths.runs`.

    Raises:
        UserError: submitit is not installed, there is no Slurm, or it refuses.
    """
    numbers: dict[Path, str] = {}
    shapes: dict[str, list[Job]] = {}
    for job in jobs:
        shape = json.dumps([resources(job.config), job.config.launch.slurm.max_timeouts], sort_keys=True)
        shapes.setdefault(shape, []).append(job)
    for alike in shapes.values():
        for start in range(0, len(alike), LONGEST):
            some = alike[start : start + LONGEST]
            given = _submit_array(some[0].config, [NodeTask.of(job) for job in some])
            for job, number in zip(some, given, strict=True):
                Record(job.folder).hand_over(number)
                numbers[job.folder] = number
    return numbers


def resources(cfg: Config) -> dict[str, Any]:
    """Return what a run asks of Slurm, as submitit's AutoExecutor names it."""
    launch, slurm = cfg.launch, cfg.launch.slurm
    asked = {
        "name": f"daair-{cfg.study}",
        "nodes": launch.nodes,
        "tasks_per_node": 1,
        "timeout_min": slurm.time,
        "cpus_per_task": _cpus(cfg),
        "gpus_per_node": _gpus(cfg) or None,
        "mem_gb": slurm.memory,
        "slurm_partition": slurm.partition,
        "slurm_account": slurm.account,
        "slurm_qos": slurm.qos,
        "slurm_signal_delay_s": slurm.notice,
        "slurm_array_parallelism": slurm.parallel,
        "slurm_setup": [*_python_path(), *slurm.setup] or None,
        "slurm_stderr_to_stdout": True,
        "slurm_srun_args": ["--kill-on-bad-exit=1"],  # the others would wait for a lost node until their time-out
        "slurm_additional_parameters": {"requeue": True, **slurm.parameters},
    }
    return {name: value for name, value in asked.items() if value is not None}


@dataclass
class NodeTask:
    """What Slurm runs on each node of a run: this node's share of its processes.

    Attributes:
        folder: the run's folder, absolute or relative to the directory of submission.
        nodes, processes: how many machines, and processes on each.
        cpu: whether they work on the CPU.
        threads: of each process, where they work on the CPU.
        grace: seconds that they have to write a checkpoint.
        trust: packages whose classes the run may build.
    """

    folder: str
    nodes: int
    processes: int
    cpu: bool
    threads: int
    grace: float
    trust: tuple[str, ...] = ()
    attempt: Attempt | None = field(default=None, repr=False)
    told: bool = False

    @classmethod
    def of(cls, job: Job) -> NodeTask:
        """Return the task of one job."""
        cfg = job.config
        processes = cfg.launch.num_processes
        threads = cfg.train.threads or max(1, _cpus(cfg) // processes)
        grace = 0.75 * cfg.launch.slurm.notice  # the rest is for the way back into the queue
        return cls(str(job.folder), cfg.launch.nodes, processes, _gpus(cfg) == 0, threads, grace, job.trust)

    def __call__(self) -> None:
        """Start this node's processes, and end as they end.

        Raises:
            SystemExit: with their exit status, so that Slurm calls a failed run failed.
        """
        import submitit

        node = submitit.JobEnvironment()
        self._listen(node)
        log = Record(self.folder).log_file
        with _deafened(node._usr_sig()):
            self.attempt = Attempt(
                Path(self.folder),
                log.with_suffix(f".{node.node}{log.suffix}") if node.node else log,
                self.nodes * self.processes,
                dict.fromkeys(THREADS, str(self.threads)) if self.cpu else {},
                trust=self.trust,
                cpu=self.cpu,
                timeout=None,
                grace=self.grace,
                meeting=self.meeting(node),
            )
        while (status := self.attempt.poll()) is None:
            time.sleep(0.2)
        if status and not (self.told and node.node):  # of a run that was told to stop, the first node has the say
            raise SystemExit(status if status > 0 else 128 - status)

    def meeting(self, node: JobEnvironment) -> Mapping[str, str]:
        """Return how the processes find each other: at the job's first host."""
        if self.nodes == 1:
            return ONE_MACHINE
        return {
            "--num_machines": str(self.nodes),
            "--machine_rank": str(node.node),
            "--main_process_ip": node.hostnames[0],
            "--main_process_port": str(port(int(node.raw_job_id))),
        }

    def checkpoint(self) -> DelayedSubmission:
        """Let the processes write their checkpoint and end; returns what is to be queued. Called by submitit."""
        from submitit.helpers import DelayedSubmission

        if self.attempt is not None:
            self.attempt.stop(self.told)
            limit = time.monotonic() + self.grace + 10  # in case that the signal came in the middle of a `poll`
            while self.attempt.poll() is None and time.monotonic() < limit:
                time.sleep(0.2)
        return DelayedSubmission(replace(self, attempt=None, told=False))

    def _listen(self, node: JobEnvironment) -> None:
        """Take SIGTERM for what submitit takes SIGUSR2 for, unless Slurm is about to end or requeue this job itself."""
        requeue = signal.getsignal(node._usr_sig())

        def usr(number: int, frame: object) -> None:
            self.told = node.node > 0  # on the first node `checkpoint` tells the processes
            requeue(number, frame)

        def term(number: int, frame: object) -> None:
            self.told = True  # the signal went to all processes
            if node.node == 0 and queue.state(node.raw_job_id) == "RUNNING":
                requeue(number, frame)

        signal.signal(node._usr_sig(), usr)
        signal.signal(signal.SIGTERM, term)


@contextlib.contextmanager
def _deafened(number: int) -> Iterator[None]:
    """Keep a signal from the processes that are started inside the block; this process gets it afterwards."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})


def port(job: int) -> int:
    """Return the port where the processes of a job meet.

    It is the same on all its nodes, another for each job, and below the ports that the system gives out.
    """
    return 20000 + job % 10000


def _submit_array(cfg: Config, tasks: list[NodeTask]) -> list[str]:
    """Submit tasks that ask for the same as `cfg` does, and return the numbers of their jobs."""
    try:
        from submitit import AutoExecutor
        from submitit.core.utils import FailedJobError, FailedSubmissionError
    except ImportError:
        raise UserError("hydra/launcher=slurm needs submitit: python -m pip install 'daair[slurm]'") from None
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        raise UserError("hydra/launcher=slurm: there is no sbatch on this machine; give this command on a login node")
    executor = AutoExecutor(
        f"{cfg.paths.runs}/.slurm/%j", cluster="slurm", slurm_max_num_timeout=cfg.launch.slurm.max_timeouts
    )
    executor.update_parameters(**resources(cfg))
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # what sbatch says comes with the exception, too
            return [job.job_id for job in executor.submit_array(tasks)]
    except (FailedJobError, FailedSubmissionError) as error:
        raise UserError(f"launch.slurm: {one_line(error)}{_remedy(str(error))}") from None


def _remedy(refusal: str) -> str:
    """Return what to set, where sbatch's own words do not say."""
    if "gres" in refusal or "gpu" in refusal.lower():
        return "; without GPUs: device=cpu or launch.slurm.gpus=0"
    return ""


def _gpus(cfg: Config) -> int:
    """Return the number of GPUs on each node."""
    if cfg.launch.slurm.gpus is not None:
        return cfg.launch.slurm.gpus
    return 0 if cfg.device == "cpu" else cfg.launch.num_processes


def _cpus(cfg: Config) -> int:
    """Return the number of CPUs on each node: every process computes, and so does each of its loader's workers."""
    return cfg.launch.slurm.cpus or cfg.launch.num_processes * (1 + cfg.train.workers)


def _python_path() -> list[str]:
    """Shell lines that make this package importable in the job, where it is not installed."""
    return [] if SOURCE.name.endswith("-packages") else [f"export PYTHONPATH={shlex.quote(str(SOURCE))}:$PYTHONPATH"]
