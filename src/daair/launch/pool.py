"""The devices of a sweep: the GPUs visible to this process, or slots of the CPU."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from daair.errors import UserError

if TYPE_CHECKING:
    from daair.config.schema import Config

MASK = "CUDA_VISIBLE_DEVICES"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""Environment variables with which numerical libraries limit their number of threads."""


@dataclass(frozen=True)
class Share:
    """The devices of one run; with `alone` no other run may use them at the same time."""

    devices: tuple[str, ...]
    alone: bool = False


@dataclass
class Pool:
    """A set of devices and the number of runs on each.

    Attributes:
        kind: The kind of all devices.
        devices: Their names; for GPUs as in CUDA_VISIBLE_DEVICES.
        room: The number of runs that may share a device.
        threads: The number of CPU threads per process; None leaves it to the libraries.
        assumed: Whether the devices are only assumed, by `launch.assume_devices`.
        load: The number of runs on each device now.
    """

    kind: Literal["cpu", "gpu"]
    devices: tuple[str, ...]
    room: int = 1
    threads: int | None = None
    assumed: bool = False
    load: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.load = self.load or dict.fromkeys(self.devices, 0)

    def copy(self) -> Pool:
        """Return a pool with the same devices, all free."""
        return Pool(self.kind, self.devices, self.room, self.threads, self.assumed)

    def check(self, processes: int, name: str) -> None:
        """Check that a run with this number of processes fits on the devices.

        Raises:
            UserError: There are too few devices, or they cannot work together.
        """
        if processes > len(self.devices):
            raise UserError(f"launch.num_processes: {name} asks for {processes} of {self}; {self._remedy()}")
        if processes > 1 and any(device.startswith("MIG-") for device in self.devices):
            raise UserError(f"launch.num_processes: {name} asks for {processes}, but MIG devices cannot share a run")

    def take(self, count: int, alone: bool = False) -> Share | None:
        """Take the `count` devices with the least load and return them; None if fewer have room."""
        limit = 0 if alone else self.room - 1
        free = sorted((d for d in self.devices if self.load[d] <= limit), key=lambda device: self.load[device])
        if len(free) < count:
            return None
        share = Share(tuple(sorted(free[:count], key=self.devices.index)), alone)
        for device in share.devices:
            self.load[device] += self.room if alone else 1
        return share

    def give_back(self, share: Share) -> None:
        """Free the devices that `take` returned."""
        for device in share.devices:
            self.load[device] -= self.room if share.alone else 1

    def environment(self, share: Share) -> dict[str, str]:
        """Return the environment variables of a run on these devices; thread limits set by the user are kept."""
        threads = {} if self.threads is None else {name: os.environ.get(name, str(self.threads)) for name in THREADS}
        return {MASK: ",".join(share.devices) if self.kind == "gpu" else "", **threads}

    def __str__(self) -> str:
        count = len(self.devices)
        if self.kind == "gpu":
            several = f", {self.room} runs on each" if self.room > 1 else ""
            assumed = "assumed " if self.assumed else ""
            return f"{count} {assumed}GPU{_s(count)} ({', '.join(self.devices)}){several}"
        threads = f" with {self.threads} thread{_s(self.threads)} each" if self.threads else ""
        return f"{count} CPU slot{_s(count)}{threads}"

    def _remedy(self) -> str:
        if self.assumed:
            return "launch.assume_devices says how many there are"
        if self.kind == "gpu":
            return "launch.devices and CUDA_VISIBLE_DEVICES select the GPUs"
        return f"launch.slots=N sets their number (this machine has {cores()} cores)"


def _s(count: int) -> str:
    return "s" if count > 1 else ""


def cores() -> int:
    """Return the number of logical cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def find_pool(configs: Sequence[Config]) -> Pool:
    """Return the pool for runs with these configs.

    Raises:
        UserError: A device does not exist, or the configs describe different pools.
    """
    first = configs[0]
    for key in ("devices", "assume_devices", "runs_per_device", "slots", "rerun", "dry_run", "order"):
        if any(getattr(config.launch, key) != getattr(first.launch, key) for config in configs):
            raise UserError(f"launch.{key}: belongs to the whole sweep and cannot differ between its runs")
    if any(config.device != first.device for config in configs):
        raise UserError("device: belongs to the whole sweep and cannot differ between its runs")
    if first.launch.assume_devices is not None:
        assumed = tuple(map(str, range(first.launch.assume_devices)))
        return Pool("gpu", assumed, first.launch.runs_per_device, assumed=True)
    if first.device != "cpu":
        gpus = visible_gpus(os.environ)
        if gpus or first.device == "cuda" or first.launch.devices:
            chosen = choose_gpus(gpus, first.launch.devices, masked=MASK in os.environ)
            return Pool("gpu", chosen, first.launch.runs_per_device)
    elif first.launch.devices:
        raise UserError("launch.devices: names GPUs, and device=cpu uses none")
    return cpu_pool(configs, cores(), first.launch.slots)


def cpu_pool(configs: Sequence[Config], available: int, slots: int | None) -> Pool:
    """Return CPU slots such that the threads of all processes and their loaders have a core each.

    A run of several processes always gets its slots, up to one per core. The number of slots does not depend on the
    runs that are left to do: the same command gives the same number of threads, and so results equal to the last bit.
    """
    loaders = max(config.train.workers for config in configs)
    if slots is None:
        threads = max(config.train.threads or 1 for config in configs)
        processes = [config.launch.num_processes for config in configs]
        slots = max(1, min(sum(processes), available // (threads + loaders)), min(max(processes), available))
    return Pool("cpu", tuple(str(i) for i in range(slots)), threads=max(1, available // slots - loaders))


def visible_gpus(environment: Mapping[str, str]) -> list[str]:
    """Return the names of the GPUs that this process may use, as in CUDA_VISIBLE_DEVICES.

    Names are numbers, `GPU-<uuid>` or `MIG-<uuid>`. CUDA ignores the mask from the first invalid entry on.
    """
    import torch

    count = torch.cuda.device_count()  # asks the driver; takes no memory on any device
    mask = environment.get(MASK)
    if mask is None:
        return [str(i) for i in range(count)]
    return [name.strip() for name in mask.split(",") if name.strip()][:count]


def choose_gpus(visible: Sequence[str], chosen: Sequence[int | str] | None, masked: bool = False) -> tuple[str, ...]:
    """Return the names of the GPUs that `launch.devices` selects, by position among the visible ones or by name.

    Raises:
        UserError: There is no GPU, a selected one does not exist, or one is selected twice.
    """
    if not visible:
        key = "device: cuda is" if chosen is None else f"launch.devices: {list(chosen)} are"
        raise UserError(f"{key} asked for, but this machine has no CUDA device that torch can use")
    if chosen is None:
        return tuple(visible)
    names = []
    for item in chosen:
        if isinstance(item, int):
            if item >= len(visible):
                raise UserError(f"launch.devices: no device {item}; CUDA shows {len(visible)}, counted from 0")
            names.append(visible[item])
        elif masked and item not in visible:
            raise UserError(f"launch.devices: {item} is not in {MASK} ({', '.join(visible)})")
        else:
            names.append(item)
    if len(set(names)) < len(names):
        raise UserError(f"launch.devices: {', '.join(names)} names a device twice")
    return tuple(names)
