"""Restore a picture in memory: a PIL image, an array or a batch of tensors; the result is of the same kind."""

import warnings
from functools import singledispatch
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor, nn

from daair.engine.inference import OVERLAP, Restorer
from daair.errors import UserError
from daair.models.training import needs_labels

Picture = TypeVar("Picture", Image.Image, NDArray, Tensor)

KINDS = "a PIL image, an array (H, W, 3) or a tensor (B, 3, H, W)"
TOPS = {np.dtype("uint8"): 255, np.dtype("uint16"): 65535}
"""The value of white for arrays of integers."""


def restore(model: nn.Module, picture: Picture, degradation: str | int | None = None) -> Picture:
    """Restore a picture or a batch with a network, on the network's device; see `daair.restore`."""
    if not isinstance(model, nn.Module):
        raise UserError(f"model: {_kind(model)} is not a network; daair.load(path) returns one")
    if isinstance(picture, Image.Image):
        picture = ImageOps.exif_transpose(picture)
    x = to_batch(picture)
    label = label_index(model, degradation, "degradation")
    first = next(model.parameters(), None)
    device = torch.device("cpu") if first is None else first.device
    restorer = Restorer(model, device, "auto", OVERLAP, lambda line: warnings.warn(line, stacklevel=2))
    restored = [restorer(image[None], label, "picture")[0] for image in x]
    return like(picture, torch.cat(restored).clamp(0, 1))


def to_batch(picture: Picture) -> Tensor:
    """Return a picture as float32 (B, 3, H, W) in [0, 1] on the CPU.

    Raises:
        UserError: It is no picture of a known kind, size and range.
    """
    x = _to_batch(picture)
    if not x.numel():
        raise UserError(f"picture: is empty, since its shape is {tuple(getattr(picture, 'shape', x.shape))}")
    if not torch.isfinite(x).all():
        raise UserError("picture: has values that are not finite")
    low, high = x.min().item(), x.max().item()
    if low < 0 or high > 1:
        remedy = "divide it by 255" if low >= 0 and 2 < high <= 255 else "scale or clip it"
        raise UserError(f"picture: floating point must lie in [0, 1], but lies in [{low:.4g}, {high:.4g}]; {remedy}")
    return x


@singledispatch
def _to_batch(picture: object) -> Tensor:
    raise UserError(f"picture: {_kind(picture)} is none of {KINDS}")


@_to_batch.register
def _(picture: Image.Image) -> Tensor:
    if picture.mode not in ("RGB", "L", "RGBA"):
        raise UserError(f"picture: mode {picture.mode} is not RGB, L or RGBA; picture.convert('RGB') changes it")
    return _to_batch(np.asarray(picture.convert("RGB")))


@_to_batch.register
def _(picture: np.ndarray) -> Tensor:
    if picture.ndim != 3 or picture.shape[2] != 3:
        first = picture.ndim == 3 and picture.shape[0] == 3
        remedy = "; picture.transpose(1, 2, 0) turns it" if first else ""
        raise UserError(f"picture: an array must be (H, W, 3), not {picture.shape}{remedy}")
    if picture.dtype.newbyteorder("=") not in TOPS and picture.dtype.kind != "f":
        raise UserError(f"picture: an array must be uint8, uint16 or floating point, not {picture.dtype}")
    scaled = picture.astype(np.float32) / np.float32(TOPS.get(picture.dtype.newbyteorder("="), 1))
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))[None]


@_to_batch.register
def _(picture: Tensor) -> Tensor:
    if picture.ndim != 4 or picture.shape[1] != 3:
        remedy = "; x[None] makes a batch" if picture.ndim == 3 and picture.shape[0] == 3 else ""
        raise UserError(f"picture: a tensor must be (B, 3, H, W), not {tuple(picture.shape)}{remedy}")
    if not picture.is_floating_point():
        raise UserError(f"picture: a tensor must be floating point in [0, 1], not {picture.dtype}")
    return picture.detach().float().cpu()


def like(picture: Picture, x: Tensor) -> Picture:
    """Return float32 images (B, 3, H, W) in [0, 1] as the same kind as `picture`."""
    if isinstance(picture, Tensor):
        return x.to(picture)
    array = x[0].permute(1, 2, 0).numpy()
    if isinstance(picture, np.ndarray):
        top = TOPS.get(picture.dtype.newbyteorder("="))
        return (array if top is None else np.rint(array * np.float32(top))).astype(picture.dtype)
    if picture.mode == "L":
        array = array.mean(axis=2)
    restored = Image.fromarray(np.rint(array * np.float32(255)).astype(np.uint8))
    if picture.mode == "RGBA":
        restored.putalpha(picture.getchannel("A"))
    if "icc_profile" in picture.info:  # without which its colours would be those of sRGB
        restored.info["icc_profile"] = picture.info["icc_profile"]
    return restored


def label_index(network: nn.Module, degradation: str | int | None, key: str) -> int | None:
    """Return the label that a network trained with `router=oracle` needs; None for other networks.

    Args:
        network: The network; its attribute `labels`, if it has one, names the degradations in order.
        degradation: Name or position of the degradation; None for networks that need none.
        key: What sets the degradation, for messages.

    Raises:
        UserError: The network needs a degradation and none is given, it is unknown, or the network needs none.
    """
    names = list(getattr(network, "labels", None) or [])
    known = f"one of {', '.join(names)}" if names else "its position in the mix that the model was trained on"
    if degradation is None:
        if needs_labels(network):
            raise UserError(f"{key}: a network with router=oracle needs the degradation: {known}")
        return None
    if not needs_labels(network):
        raise UserError(f"{key}: unused; only a network with router=oracle is told the degradation")
    if degradation in names:
        return names.index(degradation)
    if str(degradation).isdigit() and (not names or int(degradation) < len(names)):
        return int(degradation)
    raise UserError(f"{key}: '{degradation}' is unknown; must be {known}")


def _kind(thing: object) -> str:
    return f"a {type(thing).__name__}"
