"""Restores an image in overlapping tiles, so that memory on the device depends on the tile and not on the image.

Channel attention and the router average over whatever they are given, here a tile, while they were trained on crops.
The result therefore differs slightly from that of the whole image; Chu et al. 2022, *Improving Image Restoration by
Revisiting Global Information Aggregation* (TLC), show that statistics over regions of the training size are often the
better ones. Different tiles may also go to different experts; the blend hides such a change but does not undo it.
"""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FALLBACK_TILE = 512
SMALLEST_TILE = 64


def tile_spans(length: int, tile: int, overlap: int) -> list[tuple[int, Tensor]]:
    """Cover one axis with tiles whose blending weights sum to one at every position.

    The fewest tiles that overlap by at least `overlap` are spread evenly. Between neighbours the weight passes from
    one to the other as sin^2 to cos^2, over the whole of their overlap; where more than two meet, they are normalised.

    Args:
        length: Positions on the axis, at least 1.
        tile: Positions per tile, at least 1.
        overlap: Least overlap of neighbours, in [0, tile - 1].

    Returns:
        First position and float32 weights `(min(tile, length),)` of each tile, in order.
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
def restore_tiled(model: nn.Module, x: Tensor, tile: int, overlap: int, labels: Tensor | None = None) -> Tensor:
    """Restore images tile by tile and blends the tiles without seams.

    Input and result stay where `x` is (the CPU, for large images); one tile at a time visits the model's device. A
    side shorter than the tile is taken whole. Tiles that are a multiple of the model's size multiple need no padding.

    Args:
        model: `model(x)` or `model(x, labels)` returns a tensor of the shape of `x`.
        x: Images `(B, 3, H, W)` in [0, 1].
        tile: Side of a tile in pixels.
        overlap: Least overlap of neighbouring tiles in pixels, less than `tile`.
        labels: Degradation labels `(B,)` for a model that wants them.

    Returns:
        Restored images, shape, dtype and device of `x`.
    """
    device = next((p.device for p in model.parameters()), x.device)
    rows, columns = tile_spans(x.shape[-2], tile, overlap), tile_spans(x.shape[-1], tile, overlap)
    labels = () if labels is None else (labels.to(device),)
    if len(rows) == len(columns) == 1:
        return model(x.to(device), *labels).to(x)
    total = torch.zeros(x.shape, dtype=torch.float32, device=x.device)
    for (top, down), (left, across) in itertools.product(rows, columns):
        place = (..., slice(top, top + len(down)), slice(left, left + len(across)))
        restored = model(x[place].to(device), *labels).to(total)
        total[place] += restored * (down[:, None] * across).to(total)
    return total.to(x.dtype)


@torch.inference_mode()
def restore_within_memory(
    model: nn.Module,
    x: Tensor,
    tile: int,
    overlap: int,
    labels: Tensor | None = None,
    smaller: Callable[[int, int, int], None] = lambda failed, tile, overlap: None,
) -> tuple[Tensor, int]:
    """`restore_tiled`, in smaller and smaller tiles where memory does not suffice.

    Args:
        model, x, tile, overlap, labels: as in `restore_tiled`; a tile as long as the longer side means the whole image.
        smaller: called with the tile that failed and with the tile and overlap to go on with.

    Returns:
        Restored images, and the tile that they were restored in.

    Raises:
        RuntimeError: not even the smallest tile fits, or the model failed otherwise.
    """
    while True:
        try:
            return restore_tiled(model, x, tile, min(overlap, tile - 1), labels), tile
        except RuntimeError as error:  # torch.OutOfMemoryError is one, too
            if not is_out_of_memory(error):
                raise
        # Outside the handler: the traceback there would keep the failed call's tensors alive.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        failed, tile = tile, FALLBACK_TILE if tile > FALLBACK_TILE else tile // 2
        overlap = min(overlap, tile // 4)
        if tile < SMALLEST_TILE:
            raise RuntimeError(f"out of memory, even in tiles of {failed} pixels")
        smaller(failed, tile, overlap)


def is_out_of_memory(error: Exception) -> bool:
    """Return whether PyTorch says so, on whichever device."""
    text = str(error)
    signs = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(sign in text for sign in signs)


class Padded(nn.Module):
    """Lets a network that wants sides of a certain multiple take any image: reflected at the far edges, cut again.

    Args:
        net: `net(x, *more)` maps images (B, 3, H, W) to images of the same shape.
        multiple: of pixels; 1 passes everything on as it is.
    """

    def __init__(self, net: nn.Module, multiple: int) -> None:
        super().__init__()
        self.net, self.multiple = net, multiple

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        """Restore `x` (B, 3, H, W)."""
        height, width = x.shape[-2:]
        down, right = -height % self.multiple, -width % self.multiple
        if not (down or right):
            return self.net(x, *more)
        mode = "reflect" if down < height and right < width else "replicate"
        return self.net(F.pad(x, (0, right, 0, down), mode), *more)[..., :height, :width]


@torch.inference_mode()
def size_multiple(network: Callable[[Tensor], Tensor], device: torch.device) -> int:
    """The multiple of which a network wants the sides of its input, found by trying; 1 if it takes any or none."""
    for multiple in (1, 2, 4, 8, 16, 32, 64):
        x = torch.full((1, 3, 128 + multiple, 128 + multiple), 0.5, device=device)  # no multiple of twice as much
        try:
            if network(x).shape == x.shape:
                return multiple
        except Exception:  # a foreign network may object in any way; what it says of a real image will be told
            continue
    return 1
