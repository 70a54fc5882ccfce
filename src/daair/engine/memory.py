"""How much of an image can go through a network at once on this machine."""

import math
import os
from collections.abc import Callable
from pathlib import Path

import psutil
import torch
from torch import Tensor

from daair.engine.costs import peak_of_allocations

PROBE = 128
"""Side of the square image, in pixels, whose forward pass is measured; memory grows in proportion to the pixels."""

SIDES = tuple(2**k for k in range(11, 5, -1))
"""Sides of automatic tiles, 2048 to 64 pixels: few, so that different machines mostly use equal ones."""


def free_bytes(device: torch.device, processes: int = 1) -> int:
    """Return memory that is free on the device, for each of `processes` on this machine.

    On the CPU that is what the system could give without swapping, or less where the control group allows less (as in
    containers and batch systems); on CUDA what the driver has plus what PyTorch holds unused.
    """
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        sharing = math.ceil(processes / torch.cuda.device_count())
        return (torch.cuda.mem_get_info(device)[0] + cached) // sharing
    return int(min(psutil.virtual_memory().available, _allowed_by_control_group()) // processes)


def affordable_pixels(network: Callable[[Tensor], Tensor], device: torch.device, free: int) -> float:
    """Pixels of the largest image that `network` can take in `free` bytes, by one forward pass on a small image.

    Args:
        network: maps images (1, 3, H, W) on the device to images.
        device: where it runs.
        free: bytes that one forward pass may allocate.

    Returns:
        A number of pixels; infinity if the network cannot take the small image.
    """
    x = torch.rand(1, 3, PROBE, PROBE, generator=torch.Generator().manual_seed(0)).to(device)
    try:
        if device.type == "cuda":
            network(x)  # libraries take their work space at the first call
        per_pixel = max(1, peak_of_allocations(network, x)) / PROBE**2
    except (RuntimeError, ValueError, AssertionError):  # wants another size; real images will tell
        return math.inf
    return free / per_pixel


def tile_for(height: int, width: int, pixels: float) -> int:
    """Return side of the tile for an image when so many pixels are affordable at once: 0 for the whole image.

    Where not even the smallest tile is affordable it is tried all the same; the figure is an estimate.
    """
    if height * width <= pixels:
        return 0
    return next((side for side in SIDES if side**2 <= pixels and side < max(height, width)), SIDES[-1])


def _allowed_by_control_group() -> float:
    """Return bytes left below the limits of the control groups (version 2) that this process is in."""
    try:
        line = next(row for row in Path("/proc/self/cgroup").read_text().splitlines() if row.startswith("0::"))
    except (OSError, StopIteration):
        return math.inf
    left, group = math.inf, Path("/sys/fs/cgroup", line[3:].strip("/"))
    while group.is_relative_to("/sys/fs/cgroup"):
        try:
            limit = (group / "memory.max").read_text().strip()
            if limit != "max":
                files = dict(row.split() for row in (group / "memory.stat").read_text().splitlines())
                used = int((group / "memory.current").read_text()) - int(files.get("inactive_file", 0))
                left = min(left, int(limit) - used)
        except (OSError, ValueError):
            pass
        group = group.parent
    return max(0, left)


def local_processes(processes: int) -> int:
    """Return how many of the run's processes share this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", processes))
