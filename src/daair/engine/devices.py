"""Which device a task runs on."""

import os

import torch

from daair.errors import UserError


def resolve_device(name: str) -> torch.device:
    """Turn the config key `device` into a device.

    Args:
        name: `auto` (CUDA where there is any, else the CPU), `cpu` or `cuda`.

    Raises:
        UserError: CUDA is asked for and there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("device: cuda is asked for, but this machine has no CUDA device that torch can use")
    return torch.device(name)


def describe(device: torch.device, processes: int) -> str:
    """Return a run's devices for people: `cpu`, `2 x NVIDIA H100 (CUDA_VISIBLE_DEVICES=4,5)`."""
    name, mask = device.type, ""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        mask = f" (CUDA_VISIBLE_DEVICES={visible})" if visible else ""
    return (f"{processes} x " if processes > 1 else "") + name + mask
