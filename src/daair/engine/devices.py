"""Which device a task runs on."""

import torch

from daair.errors import UserError


def resolve_device(name: str) -> torch.device:
    """Turns the config key ``device`` into a device.

    Args:
        name: ``auto`` (CUDA where there is any, else the CPU), ``cpu`` or ``cuda``.

    Raises:
        UserError: CUDA is asked for and there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("device: cuda is asked for, but this machine has no CUDA device that torch can use")
    return torch.device(name)
