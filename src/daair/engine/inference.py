"""Restore images with a network: whole, or in overlapping tiles if the memory does not suffice.

With tiles, the memory on the device depends on the tile and not on the image. Channel attention and the router average
over their whole input, here a tile, but were trained on crops. The result therefore differs slightly from that of the
whole image; Chu et al. 2022, *Improving Image Restoration by Revisiting Global Information Aggregation* (TLC), show
that statistics over regions of the training size are often better. Different tiles may also be routed to different
experts; blending hides such a change but does not remove it.
"""

import itertools
import math
import os
from collections.abc import Callable
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from daair import checkpoint, components
from daair.config.schema import Config
from daair.engine.memory import SIDES, bytes_per_pixel, free_bytes, tile_for
from daair.errors import UserError, first_line, is_out_of_memory
from daair.models.layers import pad_to_multiple
from daair.models.training import apply, needs_labels

FALLBACK_TILE = 512
"""Largest tile in pixels after memory ran out."""

OVERLAP = 32
"""Pixels that tiles overlap by where no config says so: in `daair.restore` and `daair.evaluate`."""

MEMORY = 0.5
"""Fraction of the free memory that automatic tiles may use; the cost of a pixel is an estimate."""

AMPLE = 50_000
"""Bytes per pixel that are taken to suffice for any network: the hungriest in experiments/speed/peers.csv takes 8,300.

A network that needs more is restored in tiles once it has run out of memory.
"""

RESULT = 24
"""Bytes of main memory per pixel that the restored image takes, whole, until it is written."""


def load_model(cfg: Config, say: Callable[[str], None]) -> nn.Module:
    """Return the network of `cfg.checkpoint`, in evaluation mode.

    A run's folder stores its own network. Weights without one are loaded into the network that the config's `model`
    names, and so are all weights if `model._target_` names a class of another package.

    Raises:
        UserError: There are no weights, they do not fit the network, or they name a class that is not trusted.
    """
    if not components.is_foreign(cfg.model) and checkpoint.describes_network(cfg.checkpoint):
        return checkpoint.load(cfg.checkpoint, trust=cfg.trust)
    model, weights = checkpoint.build(cfg.model), checkpoint.find_weights(cfg.checkpoint)
    try:
        notes = checkpoint.load_weights(model, weights)
    except UserError as error:
        hint = "name their network: model=promptir, or model._target_=my.module.Net for one of your own"
        raise UserError(f"{error}; {hint}") from None
    for note in notes:
        say(note)
    model.labels, model.step = [], None
    return model.eval()


class Restorer:
    """Restore images one by one, each padded to a size that the network takes.

    After running out of memory it continues in smaller and smaller tiles, for the following images as well.

    Args:
        network: A network that maps images to images; it is moved to the device and put into evaluation mode.
        device: The device to run on.
        tile: Side of the tiles in pixels; None = whole images; `auto` = as the memory that is free before each image
            suffices for.
        overlap: Least overlap of neighbouring tiles in pixels; automatic tiles overlap by at most a quarter.
        say: Prints a line when memory ran out; None = raise an error instead.
    """

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        tile: int | Literal["auto"] | None,
        overlap: int,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.network, self.device = network.to(device).eval(), device
        self.auto, self.tile = tile == "auto", None if tile == "auto" else tile
        self.overlap, self.say = overlap, say
        self.pixels = math.inf  # most pixels at once; lowered when a limit becomes known
        self.multiple = size_multiple(self._apply, device)

    def affordable(self, free: float) -> float:
        """Return how many pixels fit at once into `free` bytes of memory, estimated from a small image."""
        return max(0, free) / self._bytes_per_pixel if self._bytes_per_pixel else math.inf

    @cached_property
    def _bytes_per_pixel(self) -> float:
        return bytes_per_pixel(self._padded, self.device)

    @torch.inference_mode()
    def __call__(self, image: Tensor, label: int | None, where: str) -> tuple[Tensor, int]:
        """Restore one image.

        Args:
            image: Image (1, 3, H, W) in [0, 1] on the CPU.
            label: Number of its degradation; None if the network needs none.
            where: Name of the image, for messages.

        Returns:
            The restored image, float32 on the CPU, not clamped; and the side of its tiles, 0 for the whole image.

        Raises:
            UserError: The network fails, or returns another shape or values that are not finite.
        """
        labels = None if label is None else torch.tensor([label])
        try:
            restored, tile = self._within_memory(image, labels, where)
        except Exception as error:  # a foreign network may fail in any way
            hint = "; try evaluate.tile=auto" if self.say is None and is_out_of_memory(error) else ""
            raise UserError(f"{where}: the network failed: {first_line(error)}{hint}") from error
        if restored.shape != image.shape:
            shapes = " for ".join(str(tuple(each.shape)) for each in (restored, image))
            raise UserError(f"{where}: the network returned shape {shapes}")
        if not torch.isfinite(restored).all():
            raise UserError(f"{where}: the network returned values that are not finite")
        return restored.float(), tile

    def _within_memory(self, image: Tensor, labels: Tensor | None, where: str) -> tuple[Tensor, int]:
        height, width = image.shape[-2:]
        longest, pixels = max(height, width), self.pixels
        if self.auto:
            needed = RESULT * height * width if self.device.type == "cpu" else 0
            free = MEMORY * (free_bytes(self.device) - needed)
            if free < AMPLE * height * width:  # otherwise the estimate, which takes half a second, is spared
                pixels = min(pixels, self.affordable(free))
        side = min(self.tile or tile_for(height, width, pixels) or longest, longest)
        overlap = min(self.overlap, side - 1 if self.tile else side // 4)
        while True:
            try:
                return restore_tiled(self._padded, image, side, overlap, labels, self.device), side % longest
            except Exception as error:
                if self.say is None or not is_out_of_memory(error):
                    raise
            # This is outside the handler, because its traceback would keep the failed call's tensors alive.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            failed, side = side, FALLBACK_TILE if side > FALLBACK_TILE else side // 2
            if side < SIDES[-1]:
                raise RuntimeError(f"out of memory, even in tiles of {failed} pixels")
            overlap, self.pixels = min(overlap, side // 4), min(self.pixels, side**2)
            self.say(f"{where}: out of memory with {failed} pixels at once; going on in tiles of {side}")

    def _apply(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        if labels is None and needs_labels(self.network):  # a probe of size or memory
            labels = torch.zeros(len(x), dtype=torch.long, device=x.device)
        return apply(self.network, x, labels)

    def _padded(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Apply the network to `x` (B, 3, H, W), padded by reflection to a size that it takes."""
        height, width = x.shape[-2:]
        return self._apply(pad_to_multiple(x, self.multiple), labels)[..., :height, :width]


def tile_spans(length: int, tile: int, overlap: int) -> list[tuple[int, Tensor]]:
    """Return tiles that cover one axis and whose blending weights sum to one at every position.

    The fewest tiles that overlap by at least `overlap` are spread evenly. Over the overlap of two neighbours the
    weights change as sin^2 and cos^2; where more than two tiles meet, they are normalised.

    Args:
        length: Positions on the axis, at least 1.
        tile: Positions per tile, at least 1.
        overlap: Least overlap of neighbours, in [0, tile - 1].

    Returns:
        First position and float32 weights `(min(tile, length),)` of each tile, in order.

    Raises:
        ValueError: `overlap` is out of range.
    """
    if tile < 1 or not 0 <= overlap < tile:
        raise ValueError(f"overlap must lie in [0, tile - 1], got tile={tile}, overlap={overlap}")
    if length <= tile:
        return [(0, torch.ones(length))]
    count = -(-(length - overlap) // (tile - overlap))
    starts = [round(k * (length - tile) / (count - 1)) for k in range(count)]
    weights = torch.ones(count, tile, dtype=torch.float64)
    for left, (a, b) in enumerate(itertools.pairwise(starts)):
        shared = a + tile - b
        rise = torch.sin(torch.pi / 2 * (torch.arange(shared, dtype=torch.float64) + 0.5) / shared) ** 2
        weights[left + 1, :shared] *= rise
        weights[left, tile - shared :] *= rise.flip(0)
    total = torch.zeros(length, dtype=torch.float64)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + tile] += weight
    return [(s, (w / total[s : s + tile]).float()) for s, w in zip(starts, weights, strict=True)]


@torch.inference_mode()
def restore_tiled(
    restore: Callable[..., Tensor],
    x: Tensor,
    tile: int,
    overlap: int,
    labels: Tensor | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Restore images tile by tile and blend the tiles without seams.

    Input and result stay on the device of `x` (the CPU, for large images); only one tile at a time is on `device`. A
    side shorter than the tile is not split. Tiles that are a multiple of the network's size multiple need no padding.

    Args:
        restore: `restore(x)`, or `restore(x, labels)` if there are labels, returns a tensor of the shape of `x`.
        x: Images (B, 3, H, W) in [0, 1].
        tile: Side of a tile in pixels.
        overlap: Least overlap of neighbouring tiles in pixels, less than `tile`.
        labels: Degradations (B,), for a network that needs them.
        device: The device on which `restore` runs.

    Returns:
        Restored images with the shape, dtype and device of `x`.
    """
    rows, columns = tile_spans(x.shape[-2], tile, overlap), tile_spans(x.shape[-1], tile, overlap)
    labels = () if labels is None else (labels.to(device),)
    if len(rows) == len(columns) == 1:
        return restore(x.to(device), *labels).to(x)
    total = torch.zeros(x.shape, dtype=torch.float32, device=x.device)
    for (top, down), (left, across) in itertools.product(rows, columns):
        place = (..., slice(top, top + len(down)), slice(left, left + len(across)))
        restored = restore(x[place].to(device), *labels).to(total)
        total[place] += restored * (down[:, None] * across).to(total)
    return total.to(x.dtype)


@torch.inference_mode()
def size_multiple(network: Callable[[Tensor], Tensor], device: torch.device) -> int:
    """Find by trial the number that the input's sides must be multiples of; 1 if any side works, or none."""
    for multiple in (1, 2, 4, 8, 16, 32, 64):
        x = torch.full((1, 3, 128 + multiple, 128 + multiple), 0.5, device=device)  # not divisible by 2 * multiple
        try:
            if network(x).shape == x.shape:
                return multiple
        except Exception:  # a foreign network may fail in any way; errors on real images are reported
            continue
    return 1


def local_processes(processes: int) -> int:
    """Return the number of the run's processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", processes))
