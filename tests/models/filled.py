"""Weights and images that a rule makes of names and shapes, so that outputs can be compared without storing weights."""

import zlib

import numpy as np
import torch
from torch import Tensor


def fill(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Make a state dict whose numbers depend on names and shapes alone; counters and pointers are 0."""
    state = {}
    for name, shape in shapes.items():
        last = name.rsplit(".", 1)[-1]
        if last in ("num_batches_tracked", "queue_ptr"):
            state[name] = torch.zeros(shape, dtype=torch.long)
            continue
        values = _generator(name).standard_normal(shape, dtype=np.float32)
        if last == "running_var":
            values = 1 + 0.1 * np.abs(values)
        elif len(shape) >= 2 and last != "temperature":
            values = values / np.float32(np.sqrt(np.prod(shape[1:])))
        else:
            values = (last in ("weight", "temperature")) + 0.1 * values
        state[name] = torch.from_numpy(np.asarray(values, dtype=np.float32))
    return state


def images(count: int, height: int, width: int, name: str = "input") -> Tensor:
    """Make smooth images with fine noise, (count, 3, height, width) float32 in [0, 1]."""
    rng = _generator(name)
    coarse = torch.from_numpy(rng.random((count, 3, 4, 4), dtype=np.float32))
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    fine = torch.from_numpy(rng.standard_normal((count, 3, height, width), dtype=np.float32))
    return (smooth + 0.05 * fine).clamp(0, 1)


def _generator(name: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
