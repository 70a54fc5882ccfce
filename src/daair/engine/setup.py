"""Set up the processes, devices and randomness of a run."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from daair.config.schema import Config
from daair.engine.devices import resolve_device
from daair.engine.progress import Reporter
from daair.errors import UserError, reason
from daair.exits import STOPPING, end_within
from daair.runs.record import Record

if TYPE_CHECKING:
    from daair.engine.mirrors import Mirrors

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
NUMBERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT")  # what a launcher sets, beside MASTER_ADDR
ECHO = 3.0  # seconds in which a second Ctrl-C is the first one again: torchrun passes on what the terminal has sent
LAUNCH_TWO_CPU = (
    "ACCELERATE_USE_CPU=true python -m accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 "
    "--mixed_precision no --dynamo_backend no --main_process_port 0 run.py ..."
)


@dataclass(frozen=True)
class Session:
    """The surroundings of a network while it is trained or measured.

    Attributes:
        cfg: The run's config.
        record: The run's folder, locked.
        accelerator: The run's devices and processes.
        reporter: Prints lines and progress.
        mirrors: Copy the record to Weights & Biases and TensorBoard; None where nothing is copied.
        lost: A line for each image of a benchmark that could not be measured.
    """

    cfg: Config
    record: Record
    accelerator: Accelerator
    reporter: Reporter
    mirrors: Mirrors | None = None
    lost: list[str] = field(default_factory=list)


def make_accelerator(cfg: Config, training: bool = False) -> Accelerator:
    """Return Accelerate's object for this process, after checking the number of processes.

    Args:
        cfg: The config; its device, processes and threads are used, for training also its precision and batches.
        training: Whether a network is to be trained.

    Raises:
        UserError: The environment speaks of other processes but not of all about them, the number of started processes
            differs from the config or from those in the group, they cannot share the batch evenly, or there is no GPU.
    """
    check_environment()
    name_interface()
    logging.getLogger("accelerate").setLevel(logging.WARNING)  # it would log every checkpoint
    if cfg.train.threads:
        torch.set_num_threads(cfg.train.threads)
    cpu, num_processes = resolve_device(cfg.device).type == "cpu", cfg.launch.world_size
    accelerator = Accelerator(
        cpu=cpu,
        mixed_precision=cfg.train.precision if training else "no",
        gradient_accumulation_steps=cfg.train.accumulation if training else 1,
        step_scheduler_with_optimizer=False,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(seconds=cfg.launch.group_timeout))],
    )
    world, started = accelerator.num_processes, int(os.environ.get("WORLD_SIZE", 1))
    if started != world:
        raise UserError(
            f"{started} processes were started but do not form one group; on a machine without GPU: {LAUNCH_TWO_CPU}"
        )
    if num_processes not in (1, world) and cfg.launch.nodes > 1:
        text = f"{num_processes} processes on {cfg.launch.nodes} machines are asked for, {world} started"
        raise UserError(f"launch.nodes: {text}; sweep with hydra/launcher=slurm, or see docs/studies.md")
    if num_processes not in (1, world):
        raise UserError(
            f"launch.num_processes: {num_processes} are asked for, {world} started; give this command to a launcher: "
            f"{LAUNCH_TWO_CPU if cpu else f'accelerate launch --num_processes {num_processes} run.py ...'}"
        )
    if training and cfg.train.batch_size % world:
        raise UserError(f"train.batch_size: {cfg.train.batch_size} images cannot be shared evenly by {world} processes")
    if cpu:
        # On the CPU a run is reproducible to the last bit; on GPUs deterministic kernels would be slower.
        torch.use_deterministic_algorithms(True, warn_only=True)
        if training:
            keep_freed_memory()
    return accelerator


def check_environment() -> None:
    """Check what the environment says of the processes of this run.

    Raises:
        UserError: A number of it is none, or only some of what a launcher sets is there.
    """
    given = {name: os.environ[name] for name in (*NUMBERS, "MASTER_ADDR") if name in os.environ}
    for name in NUMBERS:
        if not given.get(name, "0").isdigit():
            raise UserError(f"{name}={given[name]}: the environment variable is no number; unset it: unset {name}")
    missing = [name for name in (*NUMBERS, "MASTER_ADDR") if name not in given]
    if int(given.get("WORLD_SIZE", 1)) > 1 and missing:
        text = f"of {given['WORLD_SIZE']} processes the environment does not have {', '.join(missing)}"
        raise UserError(f"WORLD_SIZE: {text}; if this is the only process: unset {' '.join(given)}")


def name_interface() -> None:
    """Let Gloo use the network interface that the user has named for NCCL, if it is named in full, and none for Gloo.

    The stop signal and the CPU's tensors go through Gloo, which knows no patterns such as NCCL's `eth` or `^docker0`.
    """
    name = os.environ.get("NCCL_SOCKET_IFNAME", "").removeprefix("=")
    if name in (found for _, found in socket.if_nameindex()):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


def keep_freed_memory() -> None:
    """Let this process keep memory that it frees, for its next update.

    The C library of Linux maps large buffers when they are asked for and unmaps them when they are freed, so that in
    each update the system has to clear the same memory again, page by page. Settings of the environment stay
    (`MALLOC_MMAP_THRESHOLD_`, `MALLOC_TRIM_THRESHOLD_`); another C library or allocator is left as it is.
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 2**30)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def change_of_processes(before: int | None, cfg: Config, now: int, network: nn.Module) -> str | None:
    """Return in one line what changes for a run that goes on with `now` processes after `before`; None for nothing."""
    if before in (None, now):
        return None
    text = f"warning: {before} processes trained this run so far, {now} go on: the same images an update, and sums that"
    images = " instead of ".join(str(cfg.train.batch_size // count) for count in (now, before))
    if any(node.get("scope") == "local" for node in (cfg.model, *cfg.parts.values())):
        return f"{text} are rounded differently; scope=local now balances {images} images at a time, another loss"
    if any(isinstance(module, _BatchNorm) for module in network.modules()):
        share = "fewer" if now > before else "more"
        return f"{text} are rounded differently; a batch norm of the network sees {share} images at a time"
    return f"{text} are rounded differently; nothing else changes"


def reseed(*key: int) -> None:
    """Seed PyTorch's generators with (seed, step, micro-batch), in all processes alike.

    The seed depends only on the position, so no generator state is stored and a resumed run draws the same numbers.
    What a network draws for its images, it draws for those of all processes (see `daair.models.processes.own_part`).
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    torch.manual_seed(int.from_bytes(digest, "little") >> 1)


def seconds_to_stop(cfg: Config) -> float:
    """Return how long a run may take to stop before it ends itself: `launch.grace`; as a job of Slurm, its notice."""
    return cfg.launch.slurm.notice if "SLURM_JOB_ID" in os.environ else cfg.launch.grace


@contextlib.contextmanager
def ending_noted(session: Session) -> Iterator[None]:
    """Note in the record how the `with` block failed or was interrupted."""
    try:
        yield
    except BaseException as error:
        state = {"state": "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"}
        end_within(seconds_to_stop(session.cfg))  # W&B, a hanging file system or another process may not let it go
        with contextlib.suppress(UserError, OSError):  # on a full disk the state cannot be written either
            done = session.record.status().state == "done"  # and was to be measured on more; its rows are valid
            session.record.update(message=reason(error), **({} if done else state))
        raise


class Stop:
    """Notices SIGTERM, SIGINT and SIGHUP, and lets all processes agree on the step after which they stop.

    Args:
        accelerator: The run's processes.
        cfg: The run's config; see `seconds_to_stop` for what a process has from its first signal to its end.
    """

    def __init__(self, accelerator: Accelerator, cfg: Config) -> None:
        self.signal, self.seconds = 0, seconds_to_stop(cfg)
        self._group = None
        if accelerator.num_processes > 1:
            patience = timedelta(seconds=cfg.launch.group_timeout)
            # On the CPU, so that GPUs are not synchronised.
            self._group = torch.distributed.new_group(backend="gloo", timeout=patience)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals inside the `with` block; a second Ctrl-C has its usual effect.

        A second SIGTERM has none: Slurm sends it to every process, and on a busy machine torchrun passes it on late.
        """
        old, noted = {}, {}

        def note(number: int, frame: object) -> None:
            if not self.signal:
                end_within(self.seconds)
            self.signal = number
            late = time.monotonic() > noted.setdefault(number, time.monotonic()) + ECHO
            if late and number == signal.SIGINT:
                signal.signal(number, old[number] or signal.SIG_DFL)
                signal.raise_signal(number)

        for number in STOPPING:
            old[number] = signal.signal(number, note)
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler or signal.SIG_DFL)

    @property
    def pressing(self) -> bool:
        """Whether a signal has come to a process that need not agree with others."""
        return self._group is None and self.signal != 0

    def agreed(self, number: int) -> tuple[int, int]:
        """Return, agreed by all processes, the signal that one of them got (0: none) and their largest `number`."""
        if self._group is None:
            return self.signal, number
        flags = torch.tensor([self.signal, number])
        torch.distributed.all_reduce(flags, op=torch.distributed.ReduceOp.MAX, group=self._group)
        return int(flags[0]), int(flags[1])
