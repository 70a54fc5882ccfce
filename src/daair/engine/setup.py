"""Sets up the processes, devices and randomness of a run."""

import contextlib
import hashlib
import logging
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from accelerate import Accelerator

from daair.config.schema import Config
from daair.engine.devices import resolve_device
from daair.engine.progress import Reporter
from daair.errors import UserError
from daair.runs.mirror import Mirror
from daair.runs.record import Record

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
ECHO = 3.0  # seconds in which a signal may come twice: Slurm sends it to every process, and torchrun passes it on
LAUNCH_TWO_CPU = (
    "ACCELERATE_USE_CPU=true python -m accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 "
    "--mixed_precision no --dynamo_backend no --main_process_port 0 run.py ..."
)


@dataclass(frozen=True)
class Session:
    """What surrounds the network while a run is trained or measured.

    Attributes:
        cfg: the run's config.
        record: its folder, locked.
        accelerator: its devices and processes.
        reporter: says how it goes.
        mirror: gets what the record gets; None without one.
    """

    cfg: Config
    record: Record
    accelerator: Accelerator
    reporter: Reporter
    mirror: Mirror | None = None


def make_accelerator(cfg: Config, training: bool = False) -> Accelerator:
    """Make Accelerate's object for this process, after checking that the processes found each other.

    Args:
        cfg: its device, processes and threads count; in training its precision and batches as well.
        training: whether a network is to be trained.

    Raises:
        UserError: the launcher started another number of processes than the config or than found each other, or they
            cannot share the batch evenly, or there is no GPU.
    """
    logging.getLogger("accelerate").setLevel(logging.WARNING)  # it narrates every checkpoint otherwise
    if cfg.train.threads:
        torch.set_num_threads(cfg.train.threads)
    cpu, num_processes = resolve_device(cfg.device).type == "cpu", cfg.launch.world_size
    accelerator = Accelerator(
        cpu=cpu,
        mixed_precision=cfg.train.precision if training else "no",
        gradient_accumulation_steps=cfg.train.accumulation if training else 1,
        step_scheduler_with_optimizer=False,
    )
    world, started = accelerator.num_processes, int(os.environ.get("WORLD_SIZE", 1))
    if started != world:
        raise UserError(
            f"{started} processes were started but do not form one group; on a machine without GPU: {LAUNCH_TWO_CPU}"
        )
    if num_processes not in (1, world):
        raise UserError(
            f"launch.num_processes: {num_processes} are asked for, {world} started; give this command to a launcher: "
            f"{LAUNCH_TWO_CPU if cpu else f'accelerate launch --num_processes {num_processes} run.py ...'}"
        )
    if training and cfg.train.batch_size % world:
        raise UserError(f"train.batch_size: {cfg.train.batch_size} images cannot be shared evenly by {world} processes")
    if cpu:
        # On the CPU a run is reproducible to the last bit; on GPUs the deterministic kernels would cost speed.
        torch.use_deterministic_algorithms(True, warn_only=True)
    return accelerator


def reseed(*key: int) -> None:
    """Set PyTorch's generators from (seed, step, micro-batch, rank).

    Randomness that is a function of the position need not be stored: a resumed run draws what it would have drawn.
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    torch.manual_seed(int.from_bytes(digest, "little") >> 1)


def ignore_signals(worker: int = 0) -> None:
    """Ignore the signals that the terminal and Slurm send to loader workers too: these end when their process does."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


class Stop:
    """Notices SIGTERM, SIGINT and SIGHUP, and lets all processes agree on the step after which they stop."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.signal = 0
        self._group = None
        if accelerator.num_processes > 1:
            self._group = torch.distributed.new_group(backend="gloo")  # on the CPU: does not wait for the GPUs

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals inside the block; one of the same kind that comes later acts as it would have."""
        old, noted = {}, {}

        def note(number: int, frame: object) -> None:
            self.signal = number
            if time.monotonic() > noted.setdefault(number, time.monotonic()) + ECHO:
                signal.signal(number, old[number] or signal.SIG_DFL)
                signal.raise_signal(number)

        for number in STOPPING:
            old[number] = signal.signal(number, note)
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler or signal.SIG_DFL)

    def agreed(self, bad: bool) -> tuple[int, bool]:
        """Return what the processes know together: the signal that one of them got (0: none), whether one is `bad`."""
        if self._group is None:
            return self.signal, bad
        flags = torch.tensor([self.signal, int(bad)])
        torch.distributed.all_reduce(flags, op=torch.distributed.ReduceOp.MAX, group=self._group)
        return int(flags[0]), bool(flags[1])
