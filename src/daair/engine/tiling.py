"""Restores an image in overlapping tiles, so that memory on the device depends on the tile and not on the image.

Channel attention and the router average over whatever they are given, here a tile, while they were trained on crops.
The result therefore differs slightly from that of the whole image; Chu et al. 2022, *Improving Image Restoration by
Revisiting Global Information Aggregation* (TLC), show that statistics over regions of the training size are often the
better ones. Different tiles may also go to different experts; the blend hides such a change but does not undo it.
"""

import itertools

import torch
from torch import Tensor, nn


def tile_spans(length: int, tile: int, overlap: int) -> list[tuple[int, Tensor]]:
    """Covers one axis with tiles whose blending weights sum to one at every position.

    The fewest tiles that overlap by at least ``overlap`` are spread evenly. Between neighbours the weight passes from
    one to the other as sin^2 to cos^2, over the whole of their overlap; where more than two meet, they are normalised.

    Args:
        length: Positions on the axis, at least 1.
        tile: Positions per tile, at least 1.
        overlap: Least overlap of neighbours, in [0, tile - 1].

    Returns:
        First position and float32 weights ``(min(tile, length),)`` of each tile, in order.
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
    """Restores images tile by tile and blends the tiles without seams.

    Input and result stay where ``x`` is (the CPU, for large images); one tile at a time visits the model's device. A
    side shorter than the tile is taken whole. Tiles that are a multiple of the model's size multiple need no padding.

    Args:
        model: ``model(x)`` or ``model(x, labels)`` returns a tensor of the shape of ``x``.
        x: Images ``(B, 3, H, W)`` in [0, 1].
        tile: Side of a tile in pixels.
        overlap: Least overlap of neighbouring tiles in pixels, less than ``tile``.
        labels: Degradation labels ``(B,)`` for a model that wants them.

    Returns:
        Restored images, shape, dtype and device of ``x``.
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
