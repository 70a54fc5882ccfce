"""The memory that is really free, and how large an image a network can take within it."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import torch
from torch import Tensor

from daair.engine.costs import peak_of_allocations

SIDES = tuple(2**k for k in range(11, 5, -1))
"""Sides of automatic tiles, 2048 to 64 pixels; they are few so that different machines mostly use equal ones."""

PROBE = 128
"""Side in pixels of the square image whose forward pass is measured; memory grows in proportion to the pixels."""

CONTROL_GROUPS = Path("/sys/fs/cgroup")
LIMITS = {
    "": ("", "memory.max", "memory.current", "inactive_file"),
    "memory": ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""Where control groups of version 2 and 1 tell their memory, by their name in /proc/self/cgroup: the folder below
`CONTROL_GROUPS`, the files of limit and use, and the entry of memory.stat for what can be given back at once."""


def free_bytes(device: torch.device, processes: int = 1) -> int:
    """Return the free bytes of memory on the device for each of `processes` on this machine.

    On the CPU this is the memory that is available without swapping, within the limits of control groups (as in
    containers and batch systems); on CUDA it is the driver's free memory plus what PyTorch holds unused.
    """
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        sharing = math.ceil(processes / torch.cuda.device_count())
        return (torch.cuda.mem_get_info(device)[0] + cached) // sharing
    return int(min(psutil.virtual_memory().available, allowed_by_control_groups()) // processes)


@torch.inference_mode()
def bytes_per_pixel(network: Callable[[Tensor], Tensor], device: torch.device) -> float:
    """Estimate the bytes that `network` allocates for each pixel of an image, by a forward pass on a small one.

    Args:
        network: A network that maps images (1, 3, H, W) on the device to images.
        device: The device to run on.

    Returns:
        A number of bytes; 0 if the network cannot take the small image.
    """
    x = torch.rand(1, 3, PROBE, PROBE, generator=torch.Generator().manual_seed(0)).to(device)
    try:
        if device.type == "cuda":
            network(x)  # libraries allocate their workspace at the first call
        return max(1, peak_of_allocations(lambda: network(x), x.device)) / PROBE**2
    except Exception:  # the size does not suit the network; errors on real images are reported
        return 0.0


def tile_for(height: int, width: int, pixels: float) -> int:
    """Return the side of the tiles for an image if at most `pixels` fit at once; 0 for the whole image.

    If even the smallest tile seems too large, it is used anyway, because `pixels` is an estimate.
    """
    if height * width <= pixels:
        return 0
    return next((side for side in SIDES if side**2 <= pixels and side < max(height, width)), SIDES[-1])


def allowed_by_control_groups(own: Path = Path("/proc/self/cgroup"), groups: Path = CONTROL_GROUPS) -> float:
    """Return the bytes left below the memory limits of this process's control groups, of version 1 or 2.

    Args:
        own: File in which the kernel names the groups of the process.
        groups: Folder of all groups.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return math.inf
    left = [math.inf]
    for line in lines:
        _, controllers, place = line.split(":", 2)
        for name in LIMITS.keys() & set(controllers.split(",")):
            left += _left_below(groups, place.strip("/"), *LIMITS[name])
    return max(0, min(left))


def _left_below(groups: Path, place: str, folder: str, limit: str, use: str, cache: str) -> Iterator[int]:
    """Yield the bytes left below each limit of a group and of those that it is in; see `LIMITS`."""
    top = groups / folder
    group = top / place
    while group.is_relative_to(top):
        try:
            most = (group / limit).read_text().strip()
            if most != "max":
                files = dict(row.split() for row in (group / "memory.stat").read_text().splitlines())
                yield int(most) - int((group / use).read_text()) + int(files.get(cache, 0))
        except (OSError, ValueError):
            pass
        group = group.parent
