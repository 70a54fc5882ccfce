"""Building blocks of the U-shaped network that are not DaAIR's own: norms, attention, feed-forward, resampling.

Shape legend: B images, C channels, H x W pixels, h heads, c = C / h channels of one head.
Provenance: Restormer (Zamir et al., CVPR 2022, arXiv 2111.09881) for the channel attention and the gated feed-forward;
Swin (Liu et al., ICCV 2021) for the window partition. daair.md marks all of these [S].
"""

from typing import Literal

import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d, RmsNorm2d
from torch import Tensor, nn

AttentionKind = Literal["channel", "window"]
FeedForwardKind = Literal["gated", "mlp"]
NormKind = Literal["layer", "rms"]
SamplingKind = Literal["shuffle", "strided"]

NORMS: dict[str, type[nn.Module]] = {"layer": LayerNorm2d, "rms": RmsNorm2d}
WINDOW = 8  # side of a window of `attention: window`, in pixels of its level


def _conv1x1_depthwise3x3(channels: int, out_channels: int) -> nn.Sequential:
    """1x1 then depth-wise 3x3 convolution, (B, channels, H, W) -> (B, out_channels, H, W)."""
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, 1, bias=False),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, groups=out_channels, bias=False),
    )


class Attention(nn.Module):
    """Multi-head self- or cross-attention over channels (`channel`) or over pixels of a window (`window`).

    `channel` is Restormer's transposed attention: the c x c map between L2-normalised channels costs O(H W).
    `window` attends between the 64 pixels of each 8 x 8 window; H and W must then be multiples of 8.
    The L2 norms and the softmax are computed in float32 whatever the autocast precision.

    Args:
        channels: C; must be divisible by `heads`.
        heads: h.
        kind: `channel` (default, [S]) or `window`.
    """

    def __init__(self, channels: int, heads: int, kind: AttentionKind = "channel") -> None:
        super().__init__()
        self.heads, self.kind = heads, kind
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.query = _conv1x1_depthwise3x3(channels, channels)
        self.key_value = _conv1x1_depthwise3x3(channels, 2 * channels)
        self.project = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Queries from `x` (B, C, H, W), keys and values from `context` (default: `x`); returns (B, C, H, W)."""
        key, value = self.key_value(x if context is None else context).chunk(2, dim=1)
        attend = self._over_channels if self.kind == "channel" else self._over_windows
        return self.project(attend(self.query(x), key, value))

    def _over_channels(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        B, C, H, W = query.shape
        query, key, value = (t.reshape(B, self.heads, C // self.heads, H * W) for t in (query, key, value))
        weights = self._cosine(query, key).softmax(dim=-1)  # (B, h, c, c)
        return (weights.to(value.dtype) @ value).reshape(B, C, H, W)

    def _cosine(self, query: Tensor, key: Tensor) -> Tensor:
        """Cosine between the rows of (..., h, m, n) and (..., h, m, n), times the temperature; (..., h, m, m) float32.

        Dividing the small product by the norms, not the long rows, spares two passes over the feature map.
        """
        norms = [torch.linalg.vector_norm(t, dim=-1, dtype=torch.float32).clamp_min(1e-12) for t in (query, key)]
        scale = self.temperature.float() / (norms[0][..., :, None] * norms[1][..., None, :])
        return (query @ key.transpose(-2, -1)).float() * scale

    def _over_windows(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        B, C, H, W = query.shape
        shape = (B, self.heads, C // self.heads, H // WINDOW, WINDOW, W // WINDOW, WINDOW)

        def split(t: Tensor) -> Tensor:  # -> (B, H/8, W/8, h, 64, c)
            return t.reshape(shape).permute(0, 3, 5, 1, 4, 6, 2).flatten(4, 5)

        query, key, value = split(query), split(key), split(value)
        weights = (self._cosine(query, key) * WINDOW).softmax(dim=-1)  # (B, H/8, W/8, h, 64, 64)
        out = weights.to(value.dtype) @ value
        return out.unflatten(4, (WINDOW, WINDOW)).permute(0, 3, 6, 1, 4, 2, 5).reshape(B, C, H, W)


class FeedForward(nn.Module):
    """Restormer's gated depth-wise feed-forward (`gated`, [S]) or a plain per-pixel one (`mlp`).

    Args:
        channels: C.
        expansion: hidden channels as a multiple of C.
        kind: `gated` multiplies GELU(a) by b, both from a depth-wise 3x3 convolution; `mlp` is 1x1, GELU, 1x1.
    """

    def __init__(self, channels: int, expansion: float, kind: FeedForwardKind = "gated") -> None:
        super().__init__()
        hidden = max(1, int(channels * expansion))
        self.gated = kind == "gated"
        expand = _conv1x1_depthwise3x3(channels, 2 * hidden) if self.gated else nn.Conv2d(channels, hidden, 1)
        self.expand = expand
        self.project = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        x = self.expand(x)
        if self.gated:
            gate, x = x.chunk(2, dim=1)
            return self.project(F.gelu(gate) * x)
        return self.project(F.gelu(x))


def downsample(channels: int, kind: SamplingKind) -> nn.Sequential:
    """(B, C, H, W) -> (B, 2C, H/2, W/2): 3x3 convolution and pixel unshuffle ([S]), or a strided convolution."""
    if kind == "strided":
        return nn.Sequential(nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=False))
    return nn.Sequential(nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False), nn.PixelUnshuffle(2))


def upsample(channels: int, kind: SamplingKind) -> nn.Sequential:
    """(B, C, H, W) -> (B, C/2, 2H, 2W): 3x3 convolution and pixel shuffle ([S]), or a transposed convolution."""
    if kind == "strided":
        return nn.Sequential(nn.ConvTranspose2d(channels, channels // 2, 2, stride=2, bias=False))
    return nn.Sequential(nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False), nn.PixelShuffle(2))
