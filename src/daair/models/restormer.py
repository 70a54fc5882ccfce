"""Restormer: a U-shaped transformer whose attention is over channels, trained for one restoration task at a time.

"Restormer: Efficient Transformer for High-Resolution Image Restoration", Zamir, Arora, Khan, Hayat, Khan, Yang, CVPR
2022, arXiv 2111.09881. Written from the paper; nothing is copied from the authors' repository, whose licence is for
academic use. Its outputs were checked against those of their code (tests/models/test_restormer.py).

Shape legend: B images, C channels of level 0, H x W pixels. Level l has C * 2^l channels at 1 / 2^l of the resolution;
the decoder's level 0 and the refinement keep 2C.

    x -> 3x3 -> encoder 0 -> 1 -> 2 -> 3 (bottleneck) -> decoder 2 -> 1 -> 0 -> refinement -> 3x3 -> + x
"""

from collections.abc import Mapping
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Len
from torch import Tensor, nn

from daair.models.layers import (
    RestormerNorm,
    TransformerBlock,
    check_heads,
    downsample,
    pad_to_multiple,
    upsample,
)
from daair.models.published import BACKBONE, rename

Positive = Annotated[int, Ge(1)]


class Restormer(nn.Module):
    """The Restormer network, for images of any size (padded by reflection to a multiple of 8, then cropped back).

    PromptIR and AdaIR extend this network by `_between`, which changes the features before each upsampling.

    Args:
        channels: C.
        encoder_blocks: Blocks of the four encoder levels; the fourth is the bottleneck.
        decoder_blocks: Blocks of the three decoder levels, full resolution first.
        refinement_blocks: Blocks after the decoder, at full resolution.
        heads: Attention heads of the four levels; each divides its level's channels.
        expansion: Hidden channels of the feed-forward as a multiple of its channels.
        norm: `biased`, or `bias_free` as in the authors' blind denoising networks.

    Raises:
        ValueError: The sizes do not fit together; the message begins with the config key.
    """

    multiple = 8

    def __init__(
        self,
        channels: Annotated[int, Ge(2)] = 48,
        encoder_blocks: Annotated[tuple[Positive, ...], Len(4, 4)] = (4, 6, 6, 8),
        decoder_blocks: Annotated[tuple[Positive, ...], Len(3, 3)] = (4, 6, 6),
        refinement_blocks: Annotated[int, Ge(0)] = 4,
        heads: Annotated[tuple[Positive, ...], Len(4, 4)] = (1, 2, 4, 8),
        expansion: Annotated[float, Gt(0)] = 2.66,
        norm: RestormerNorm = "biased",
    ) -> None:
        super().__init__()
        check_heads(heads, channels)
        if channels % 2:
            raise ValueError(f"model.channels: must be even, got {channels}")
        widths = [channels * 2**level for level in range(4)]
        decoded = [widths[1], widths[1], widths[2]]  # level 0 keeps both halves of its concatenation
        arriving = self._arriving(widths)

        def blocks(level: int, width: int, depth: int) -> nn.Sequential:
            return nn.Sequential(*(TransformerBlock(width, heads[level], expansion, norm) for _ in range(depth)))

        self.embed = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        self.encoder = nn.ModuleList(blocks(level, widths[level], depth) for level, depth in enumerate(encoder_blocks))
        self.down = nn.ModuleList(downsample(width, "shuffle") for width in widths[:3])
        self.up = nn.ModuleList(upsample(width, "shuffle") for width in arriving)
        self.skip = nn.ModuleList(
            nn.Conv2d(arriving[level] // 2 + widths[level], decoded[level], 1, bias=False) if level else nn.Identity()
            for level in range(3)
        )
        self.decoder = nn.ModuleList(blocks(level, decoded[level], depth) for level, depth in enumerate(decoder_blocks))
        self.refinement = blocks(0, decoded[0], refinement_blocks)
        self.out = nn.Conv2d(decoded[0], 3, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Restore `x` (B, 3, H, W), values in [0, 1]; the result has its shape and dtype and is not clamped."""
        H, W = x.shape[-2:]
        image = pad_to_multiple(x, self.multiple)
        skips, feature = [], self.embed(image)
        for level, blocks in enumerate(self.encoder):
            feature = blocks(feature)
            if level < 3:
                skips.append(feature)
                feature = self.down[level](feature)
        for level in (2, 1, 0):
            feature = self.up[level](self._between(level, feature, image))
            feature = self.decoder[level](self.skip[level](torch.cat([feature, skips[level]], dim=1)))
        return x + self.out(self.refinement(feature))[..., :H, :W].to(x.dtype)

    def _arriving(self, widths: list[int]) -> list[int]:
        """Return the channels that `_between` returns for the upsampling into each decoder level."""
        return widths[1:]

    def _between(self, level: int, feature: Tensor, image: Tensor) -> Tensor:
        """Change the features before they are upsampled into decoder level `level`; here they are unchanged.

        Args:
            level: 2, 1 or 0.
            feature: (B, C * 2^(level + 1), H / 2^(level + 1), W / 2^(level + 1)).
            image: The padded input (B, 3, H, W).
        """
        return feature

    @staticmethod
    def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the authors' state dict with the names used here; one that has these names is returned unchanged."""
        return rename(state, BACKBONE)
