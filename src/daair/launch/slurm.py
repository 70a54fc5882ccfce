"""Submit runs as Slurm jobs, using submitit (the extra `slurm`).

Runs that request the same resources become one array job, in which each run is an element, so that a failure affects
one run only; with `launch.order` only those that follow each other in that order. Slurm starts one `NodeTask` on each
node of a run, which starts the worker processes of that node. The processes meet on the job's first host, at a port
computed from the job's number.

What happens to a run:

| event | signal | action |
| --- | --- | --- |
| its time limit is near (`launch.slurm.notice`) | USR2 to every process | checkpoint, back into the queue |
| another job preempts it, with a grace period | TERM to every process, the job still RUNNING | the same |
| requeued by `scontrol requeue`, or preempted without grace | TERM, then KILL | checkpoint; Slurm queues it again |
| cancelled by `scancel` | TERM, then KILL | checkpoint; the same command submits it again |
| its node dies | none | Slurm queues it again; it resumes from its last checkpoint |

The run's folder holds the number of its job; `daair.runs.squeue` asks Slurm whether that job still exists.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daair.config.jobs import Job
from daair.config.schema import Config
from daair.errors import UserError, one_line
from daair.launch.causes import ending, tail
from daair.launch.pool import THREADS
from daair.launch.processes import ONE_MACHINE, SOURCE, Attempt
from daair.runs import squeue as queue
from daair.runs.record import Record

if TYPE_CHECKING:
    from submitit import JobEnvironment
    from submitit.helpers import DelayedSubmission

REQUESTS = 3
"""How often Slurm is asked to put a job back into the queue."""

LONGEST = 1000
"""The largest number of jobs in one array under Slurm's default MaxArraySize."""


def submit(jobs: Sequence[Job]) -> dict[Path, str]:
    """Submit queued jobs, record their Slurm job numbers in the runs' folders, and return the numbers by folder.

    Args:
        jobs: The jobs; all have the same `paths.runs`.

    Raises:
        UserError: submitit is not installed, there is no Slurm, or Slurm refuses a job.
    """
    numbers: dict[Path, str] = {}
    for alike in _arrays(jobs):
        for start in range(0, len(alike), LONGEST):
            some = alike[start : start + LONGEST]
            given = _submit_array(some[0].config, [NodeTask.of(job) for job in some])
            for job, number in zip(some, given, strict=True):
                Record(job.folder).hand_over(number)
                numbers[job.folder] = number
    return numbers


def _arrays(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Yield jobs that can be one array; if `launch.order` puts them in order, only neighbours are."""
    if jobs and jobs[0].config.launch.order:
        yield from (list(alike) for _, alike in itertools.groupby(jobs, key=_shape))
        return
    shapes: dict[str, list[Job]] = {}
    for job in jobs:
        shapes.setdefault(_shape(job), []).append(job)
    yield from shapes.values()


def _shape(job: Job) -> str:
    """Return what the jobs of an array have in common."""
    return json.dumps([resources(job.config), job.config.launch.slurm.max_timeouts], sort_keys=True)


def resources(cfg: Config) -> dict[str, Any]:
    """Return the resources that a run requests, as parameters of submitit's AutoExecutor."""
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
        "slurm_srun_args": [
            "--kill-on-bad-exit=1"
        ],  # else the other nodes would wait for a lost one until their timeout
        "slurm_additional_parameters": {"requeue": True, **slurm.parameters},
    }
    return {name: value for name, value in asked.items() if value is not None}


@dataclass
class NodeTask:
    """The task that Slurm runs on each node of a run: it starts and watches the processes of that node.

    Attributes:
        folder: The run's folder, absolute or relative to the directory of submission.
        nodes: The number of machines.
        processes: The number of processes on each machine.
        cpu: Whether the processes work on the CPU.
        threads: The number of threads per process if they work on the CPU.
        grace: Seconds that the processes have to write a checkpoint.
        trust: Packages whose classes the run may build.
        attempt: The processes of this node once they are started.
        told: Whether the processes have got a signal to stop.
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
        """Start this node's processes and wait for them.

        Raises:
            SystemExit: The processes failed; the exit status is theirs, so that Slurm marks the job as failed.
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
        if status and not (self.told and node.node):  # on a stopped run only the first node's status counts
            record = Record(self.folder)
            end = ending(record.status(), status, tail(self.attempt.log, self.attempt.log_begin))
            if end.killed:  # the other processes may take it for a failure of their own
                record.note(end.state, end.cause)
            raise SystemExit(status if status > 0 else 128 - status)

    def meeting(self, node: JobEnvironment) -> Mapping[str, str]:
        """Return the flags of `accelerate launch` with which the processes meet on the job's first host."""
        if self.nodes == 1:
            return ONE_MACHINE
        return {
            "--num_machines": str(self.nodes),
            "--machine_rank": str(node.node),
            "--main_process_ip": node.hostnames[0],
            "--main_process_port": str(port(int(node.raw_job_id))),
        }

    def checkpoint(self) -> DelayedSubmission:
        """Stop the processes after their checkpoint and return the task to queue again; called by submitit."""
        from submitit.helpers import DelayedSubmission

        if self.attempt is not None:
            self.attempt.stop(self.told)
            limit = time.monotonic() + self.grace + 10  # the signal may have interrupted a `poll`
            # Once there is a checkpoint, the way back into the queue is more urgent than the end of the processes: the
            # grace period of a preemption may be short.
            while self.attempt.poll() is None and not self._checkpointed() and time.monotonic() < limit:
                time.sleep(0.2)
        return DelayedSubmission(replace(self, attempt=None, told=False))

    def _checkpointed(self) -> bool:
        """Return whether the run has recorded that a signal stopped it, which it does after its checkpoint."""
        return Record(self.folder).status().state == "interrupted"

    def _listen(self, node: JobEnvironment) -> None:
        """Handle SIGTERM as submitit handles its own signal, unless Slurm ends or requeues the job itself."""
        checkpoint_and_requeue = signal.getsignal(node._usr_sig())

        def requeue(number: int, frame: object) -> None:
            for left in reversed(range(REQUESTS)):  # `scontrol requeue` fails while a busy controller does not answer
                try:
                    return checkpoint_and_requeue(number, frame)
                except subprocess.SubprocessError:
                    if not left:
                        raise

        def usr(number: int, frame: object) -> None:
            self.told = node.node > 0  # on the first node `checkpoint` tells the processes
            requeue(number, frame)

        def term(number: int, frame: object) -> None:
            self.told = True  # the signal went to all processes
            # Not by `raw_job_id`: one job of an array has the array's number, for which squeue lists all of them.
            if node.node == 0 and queue.state(node.job_id) in ("RUNNING", "SIGNALING"):
                requeue(number, frame)

        signal.signal(node._usr_sig(), usr)
        signal.signal(signal.SIGTERM, term)


@contextlib.contextmanager
def _deafened(number: int) -> Iterator[None]:
    """Block a signal for this process and for those started in the block; this process gets it afterwards."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})


def port(job: int) -> int:
    """Return the port where the processes of a job meet.

    It follows from the job's number, so that all nodes agree, and lies below the system's ephemeral ports.
    """
    return 20000 + job % 10000


def _submit_array(cfg: Config, tasks: list[NodeTask]) -> list[str]:
    """Submit tasks that request the same resources as `cfg` in one array, and return their job numbers."""
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
        with contextlib.redirect_stderr(io.StringIO()):  # the exception holds sbatch's message, too
            return [job.job_id for job in executor.submit_array(tasks)]
    except (FailedJobError, FailedSubmissionError) as error:
        raise UserError(f"launch.slurm: {one_line(error)}{_remedy(str(error))}") from None


def _remedy(refusal: str) -> str:
    """Return advice on sbatch's refusal where its message gives none."""
    if "gres" in refusal or "gpu" in refusal.lower():
        return "; without GPUs: device=cpu or launch.slurm.gpus=0"
    return ""


def _gpus(cfg: Config) -> int:
    """Return the number of GPUs on each node."""
    if cfg.launch.slurm.gpus is not None:
        return cfg.launch.slurm.gpus
    return 0 if cfg.device == "cpu" else cfg.launch.num_processes


def _cpus(cfg: Config) -> int:
    """Return the number of CPUs on each node: one per process and one per loader worker by default."""
    return cfg.launch.slurm.cpus or cfg.launch.num_processes * (1 + cfg.train.workers)


def _python_path() -> list[str]:
    """Return shell lines that make this package importable in the job if it is not installed."""
    return [] if SOURCE.name.endswith("-packages") else [f"export PYTHONPATH={shlex.quote(str(SOURCE))}:$PYTHONPATH"]
