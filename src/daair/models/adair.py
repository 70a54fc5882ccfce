"""AdaIR: Restormer whose decoder is guided by the low and high frequencies of the degraded image.

"AdaIR: Adaptive All-in-One Image Restoration via Frequency Mining and Modulation", Cui, Zamir, Khan, Knoll, Shah, Khan,
ICLR 2025, arXiv 2403.14614. Written from the paper; nothing is copied from the authors' repository. Its outputs
were checked against those of their code for images of 64 x 64 pixels (tests/models/test_adair.py).

Shape legend: B images, C channels of level 0, H x W pixels.

    Restormer, with an adaptive frequency learning block before each upsampling of the decoder
"""

from collections.abc import Mapping
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Len
from torch import Tensor, nn

from daair.models.layers import Attention, RestormerNorm
from daair.models.precision import full_precision
from daair.models.published import BACKBONE, Rules, rename
from daair.models.restormer import Positive, Restormer

GRID = 128
"""The low band is at most H // GRID rows and W // GRID columns to either side of the zero frequency."""

CROSS: Rules = (
    (r"q", "query.0"),
    (r"q_dwconv", "query.1"),
    (r"kv", "key_value.0"),
    (r"kv_dwconv", "key_value.1"),
    (r"project_out", "project"),
)
"""Parameters within a cross-attention."""

RULES: Rules = (
    *BACKBONE,
    *((rf"fre{number}", f"frequency.{3 - number}") for number in (1, 2, 3)),
    (r"channel_cross_l", "mine_high"),
    (r"channel_cross_h", "mine_low"),
    (r"channel_cross_agg", "merge"),
    (r"frequency_refine\.SpatialGate\.spatial", "modulate.spatial"),
    (r"frequency_refine\.ChannelGate\.mlp", "modulate.channel"),
    (r"frequency_refine\.proj", "modulate.project"),
    (r"conv1", "embed"),
    (r"rate_conv", "band"),
    (r"para1", "scale"),
    (r"para2", "shortcut"),
    (r"conv", "dormant.embed"),
    (r"score_gen", "dormant.score"),
    *CROSS,
)


class FrequencyModulation(nn.Module):
    """Bidirectional modulation: the high band weights the low one's pixels, the low band the high one's channels.

    Args:
        channels: C.
        reduction: Divides C for the hidden channels of the channel weights.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.spatial = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.channel = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False), nn.ReLU(), nn.Conv2d(hidden, channels, 1, bias=False)
        )
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        """Map two bands (B, C, H, W) to their sum after modulation, (B, C, H, W)."""
        extremes = torch.cat([high.amax(dim=1, keepdim=True), high.mean(dim=1, keepdim=True)], dim=1)
        pixels = self.spatial(extremes).sigmoid()
        mean, peak = low.mean(dim=(2, 3), keepdim=True), low.amax(dim=(2, 3), keepdim=True)
        channels = (self.channel(mean) + self.channel(peak)).sigmoid()
        return self.project(low * pixels + high * channels)


class FrequencyBlock(nn.Module):
    """Adaptive frequency learning block: extract both bands of the image, modulate them, merge them into the features.

    The border between the bands is predicted from the image and rounded to whole frequencies, so no gradient reaches
    `band`: it keeps its initial values, as in the authors' training, and is frozen here. The low band is empty for
    feature maps smaller than 128 pixels, and so in all training on crops of 128.

    Args:
        channels: C.
        heads: Heads of the three cross-attentions.
        dormant: Keep two published convolutions that no forward pass uses; they are frozen.
    """

    def __init__(self, channels: int, heads: int, dormant: bool = True) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        hidden = max(1, channels // 8)
        self.band = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False), nn.GELU(), nn.Conv2d(hidden, 2, 1, bias=False)
        ).requires_grad_(False)
        self.mine_high, self.mine_low, self.merge = (Attention(channels, heads) for _ in range(3))
        self.modulate = FrequencyModulation(channels)
        self.scale = nn.Parameter(torch.zeros(channels, 1, 1))  # an untrained block returns the features
        self.shortcut = nn.Parameter(torch.ones(channels, 1, 1))
        self.dormant = None
        if dormant:
            parts = {"embed": nn.Conv2d(3, channels, 3, bias=False), "score": nn.Conv2d(2, 2, 7)}
            self.dormant = nn.ModuleDict(parts).requires_grad_(False)

    def forward(self, feature: Tensor, image: Tensor) -> Tensor:
        """Map features (B, C, H, W) and the image (B, 3, any size) to features (B, C, H, W)."""
        small = F.interpolate(image, feature.shape[-2:], mode="bilinear")
        low, high = self._bands(self.embed(small))
        low, high = self.mine_low(low, feature), self.mine_high(high, feature)
        merged = self.merge(feature, self.modulate(low, high))
        return merged * self.scale + feature * self.shortcut

    def _bands(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the magnitudes of the low and the high frequencies of (B, C, H, W); the spectrum is float32."""
        with torch.no_grad():
            low_band = self._low_band(x)
        with full_precision(x):
            spectrum = torch.fft.fft2(x.float())
            low = torch.fft.ifft2(spectrum * low_band).abs()
            high = torch.fft.ifft2(spectrum * ~low_band).abs()
        return low.to(x.dtype), high.to(x.dtype)

    def _low_band(self, x: Tensor) -> Tensor:
        """Return which frequencies of (B, C, H, W) are low, (B, 1, H, W) bool with the zero frequency first."""
        share = self.band(x.mean(dim=(2, 3), keepdim=True)).sigmoid().float()
        inside = []
        for axis, size in enumerate(x.shape[-2:]):
            reach = (size // GRID * share[:, axis, 0, 0]).floor()[:, None]
            place = torch.arange(size, device=x.device)
            frequency = torch.where(place < (size + 1) // 2, place, place - size)  # 0, 1, ..., -2, -1
            inside.append((frequency >= -reach) & (frequency < reach))
        return (inside[0][:, :, None] & inside[1][:, None, :])[:, None]


class AdaIR(Restormer):
    """The AdaIR network, for images of any size.

    Args:
        channels, encoder_blocks, decoder_blocks, refinement_blocks, heads, expansion, norm: As in `Restormer`. The
            frequency blocks have as many attention heads as level 2.
        dormant: Keep the published parameters that no forward pass uses, so that parameters can be counted and loaded
            as published. They are frozen, because distributed training would wait for their gradients.

    Raises:
        ValueError: The sizes do not fit together; the message begins with the config key.
    """

    def __init__(
        self,
        channels: Annotated[int, Ge(2)] = 48,
        encoder_blocks: Annotated[tuple[Positive, ...], Len(4, 4)] = (4, 6, 6, 8),
        decoder_blocks: Annotated[tuple[Positive, ...], Len(3, 3)] = (4, 6, 6),
        refinement_blocks: Annotated[int, Ge(0)] = 4,
        heads: Annotated[tuple[Positive, ...], Len(4, 4)] = (1, 2, 4, 8),
        expansion: Annotated[float, Gt(0)] = 2.66,
        norm: RestormerNorm = "biased",
        dormant: bool = True,
    ) -> None:
        super().__init__(channels, encoder_blocks, decoder_blocks, refinement_blocks, heads, expansion, norm)
        if 2 * channels % heads[2]:
            raise ValueError(
                f"model.heads: {heads[2]} heads of level 2 do not divide the {2 * channels} channels of the last "
                "frequency block"
            )
        self.frequency = nn.ModuleList(FrequencyBlock(channels * 2**level, heads[2], dormant) for level in (1, 2, 3))

    def _between(self, level: int, feature: Tensor, image: Tensor) -> Tensor:
        """Guide the features by the frequencies of the image."""
        return self.frequency[level](feature, image)

    @staticmethod
    def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the authors' state dict with the names used here; one that has these names is returned unchanged."""
        return rename(state, RULES)
