"""Processes, devices and randomness of a training run."""

import contextlib
import hashlib
import logging
import os
import signal
import time
from collections.abc import Iterator

import torch
from accelerate import Accelerator

from daair.engine.devices import resolve_device
from daair.errors import UserError

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
ECHO = 3.0  # seconds in which a signal may come twice: Slurm sends it to every process, and torchrun passes it on
LAUNCH_TWO_CPU = (
    "ACCELERATE_USE_CPU=true python -m accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 "
    "--mixed_precision no --dynamo_backend no --main_process_port 0 run.py ..."
)


def make_accelerator(
    *,
    device: str,
    num_processes: int,
    threads: int | None,
    precision: str = "no",
    accumulation: int = 1,
    batch_size: int | None = None,
) -> Accelerator:
    """Accelerate's object for this process, after checking that the processes found each other.

    Args:
        device: `auto`, `cpu` or `cuda`.
        num_processes: what the config says; 1 leaves it to the launcher.
        threads: CPU threads of this process; None leaves PyTorch's choice.
        precision: `no` or `bf16`.
        accumulation: micro-batches per update.
        batch_size: images per micro-batch over all processes.

    Raises:
        UserError: the launcher started another number of processes than the config or than found each other, or they
            cannot share the batch evenly, or there is no GPU.
    """
    logging.getLogger("accelerate").setLevel(logging.WARNING)  # it narrates every checkpoint otherwise
    if threads:
        torch.set_num_threads(threads)
    cpu = resolve_device(device).type == "cpu"
    accelerator = Accelerator(
        cpu=cpu,
        mixed_precision=precision,
        gradient_accumulation_steps=accumulation,
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
    if batch_size is not None and batch_size % world:
        raise UserError(f"train.batch_size: {batch_size} images cannot be shared evenly by {world} processes")
    if cpu:
        # On the CPU a run is reproducible to the last bit; on GPUs the deterministic kernels would cost speed.
        torch.use_deterministic_algorithms(True, warn_only=True)
    return accelerator


def reseed(*key: int) -> None:
    """Set PyTorch's generators from (seed, step, micro-batch, rank).

    Randomness that is a function of the position needs not be stored: a resumed run draws what it would have drawn.
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    torch.manual_seed(int.from_bytes(digest, "little") >> 1)


def ignore_signals(worker: int = 0) -> None:
    """For loader workers, which the terminal and Slurm send the same signals: they end when their process does."""
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
        """What the processes know together: the signal that any of them got (0 for none), and whether any is `bad`."""
        if self._group is None:
            return self.signal, bad
        flags = torch.tensor([self.signal, int(bad)])
        torch.distributed.all_reduce(flags, op=torch.distributed.ReduceOp.MAX, group=self._group)
        return int(flags[0]), bool(flags[1])
