"""Choose and describe the device of a task."""

import contextlib
import os
from collections.abc import Iterator

import torch

from daair.errors import UserError


def resolve_device(name: str) -> torch.device:
    """Return the device that the config key `device` names.

    Args:
        name: `auto` (CUDA if available, else the CPU), `cpu` or `cuda`.

    Raises:
        UserError: CUDA is asked for and not available.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("device: cuda is asked for, but this machine has no CUDA device that torch can use")
    return torch.device(name)


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Allow or forbid, inside the `with` block, that GPUs round the factors of float32 products to TensorFloat-32."""
    places = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [place.allow_tf32 for place in places]
    try:
        for place in places:
            place.allow_tf32 = allowed
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.allow_tf32 = value


def describe(device: torch.device, processes: int) -> str:
    """Return a run's devices as text: `cpu`, `2 x NVIDIA H100 (CUDA_VISIBLE_DEVICES=4,5)`."""
    name, mask = device.type, ""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        mask = f" (CUDA_VISIBLE_DEVICES={visible})" if visible else ""
    return (f"{processes} x " if processes > 1 else "") + name + mask
