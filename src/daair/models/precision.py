"""Parts of a network that are computed in float32 under any `train.precision`."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(x: Tensor) -> AbstractContextManager:
    """Return a context without autocast on the device of `x`; what enters it as bfloat16 must be cast by `float()`."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)
