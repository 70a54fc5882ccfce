"""Building blocks that the U-shaped networks share: norms, attention, feed-forward, resampling, padding.

Shape legend: B images, C channels, H x W pixels, h heads, c = C / h channels of one head.
Provenance: Restormer (Zamir et al., CVPR 2022, arXiv 2111.09881) for the channel attention, the gated feed-forward and
the bias-free norm; Swin (Liu et al., ICCV 2021) for the window partition; "Improving Image Restoration by Revisiting
Global Information Aggregation" (Chu et al., ECCV 2022, arXiv 2112.04491) for local means. docs/method.md marks those of
Restormer [S].
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from daair.submodules import submodule

LayerNorm2d: type[nn.Module] = submodule("timm.layers.norm").LayerNorm2d
RmsNorm2d: type[nn.Module] = submodule("timm.layers.norm").RmsNorm2d

AttentionKind = Literal["channel", "window"]
Window = Annotated[int, Ge(8)] | None
FeedForwardKind = Literal["gated", "mlp"]
NormKind = Literal["layer", "rms"]
RestormerNorm = Literal["biased", "bias_free"]
SamplingKind = Literal["shuffle", "strided"]

NORMS: dict[str, type[nn.Module]] = {"layer": LayerNorm2d, "rms": RmsNorm2d}
WINDOW = 8  # side of a window of `attention: window`, in pixels of its level


class BiasFreeNorm(nn.Module):
    """Division by the standard deviation over the channels, without centring: Restormer's norm for blind denoising.

    With this norm and convolutions without bias, a network's output scales with the contrast of its input. The
    statistics are computed in float32.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        scale = (x.float().var(dim=1, correction=0, keepdim=True) + self.eps).rsqrt()
        return x * scale.to(x.dtype) * self.weight[:, None, None]


RESTORMER_NORMS = {"biased": partial(LayerNorm2d, eps=1e-5), "bias_free": BiasFreeNorm}
"""The norms of Restormer and of the networks built on it, by the value of `norm`."""


def conv1x1_depthwise(
    channels: int, out_channels: int, kernel: int = 3, biases: tuple[bool, bool] = (False, False)
) -> nn.Sequential:
    """Return 1x1 and depth-wise kernel x kernel convolutions, (B, channels, H, W) -> (B, out_channels, H, W)."""
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, 1, bias=biases[0]),
        nn.Conv2d(out_channels, out_channels, kernel, padding=kernel // 2, groups=out_channels, bias=biases[1]),
    )


def attend_channels(query: Tensor, key: Tensor, value: Tensor, temperature: Tensor) -> Tensor:
    """Apply Restormer's transposed attention: the c x c map between L2-normalised channels costs O(H W).

    Args:
        query, key, value: (B, C, H, W).
        temperature: (h, 1, 1), factor of the cosines of each head.

    Returns:
        (B, C, H, W).
    """
    B, C, H, W = query.shape
    heads = temperature.shape[0]
    query, key, value = (t.reshape(B, heads, C // heads, H * W) for t in (query, key, value))
    weights = _cosine(query, key, temperature).softmax(dim=-1)  # (B, h, c, c)
    return (weights.to(value.dtype) @ value).reshape(B, C, H, W)


def _cosine(query: Tensor, key: Tensor, temperature: Tensor) -> Tensor:
    """Return temperature * cosine (..., h, m, m), float32, between the rows of two tensors (..., h, m, n).

    Dividing the small product by the norms, instead of the long rows, saves two passes over the feature map.
    """
    norms = [torch.linalg.vector_norm(t, dim=-1, dtype=torch.float32).clamp_min(1e-12) for t in (query, key)]
    scale = temperature.float() / (norms[0][..., :, None] * norms[1][..., None, :])
    return (query @ key.transpose(-2, -1)).float() * scale


class Attention(nn.Module):
    """Multi-head self- or cross-attention over channels (`channel`) or over pixels of a window (`window`).

    `channel` is Restormer's transposed attention: the c x c map between L2-normalised channels costs O(H W).
    `window` attends between the 64 pixels of each 8 x 8 window; H and W must then be multiples of 8.
    The L2 norms and the softmax are computed in float32 under any autocast precision.

    Args:
        channels: C; must be divisible by `heads`.
        heads: h.
        kind: `channel` (default, [S]) or `window`.
        context_kernel: Side of the depth-wise convolution of keys and values, odd.
    """

    def __init__(self, channels: int, heads: int, kind: AttentionKind = "channel", context_kernel: int = 3) -> None:
        super().__init__()
        self.heads, self.kind = heads, kind
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.query = conv1x1_depthwise(channels, channels)
        self.key_value = conv1x1_depthwise(channels, 2 * channels, context_kernel)
        self.project = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the attention (B, C, H, W) of queries from `x` to keys and values from `context` (default: `x`)."""
        key, value = self.key_value(x if context is None else context).chunk(2, dim=1)
        query = self.query(x)
        if self.kind == "channel":
            return self.project(attend_channels(query, key, value, self.temperature))
        return self.project(self._over_windows(query, key, value))

    def _over_windows(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        B, C, H, W = query.shape
        shape = (B, self.heads, C // self.heads, H // WINDOW, WINDOW, W // WINDOW, WINDOW)

        def split(t: Tensor) -> Tensor:  # -> (B, H/8, W/8, h, 64, c)
            return t.reshape(shape).permute(0, 3, 5, 1, 4, 6, 2).flatten(4, 5)

        query, key, value = split(query), split(key), split(value)
        weights = (_cosine(query, key, self.temperature) * WINDOW).softmax(dim=-1)  # (B, H/8, W/8, h, 64, 64)
        out = weights.to(value.dtype) @ value
        return out.unflatten(4, (WINDOW, WINDOW)).permute(0, 3, 6, 1, 4, 2, 5).reshape(B, C, H, W)


class SelfAttention(nn.Module):
    """Channel self-attention of Restormer; one convolution computes queries, keys and values together.

    Args:
        channels: C; must be divisible by `heads`.
        heads: h.
        bias: Whether the convolutions have a bias.
    """

    def __init__(self, channels: int, heads: int, bias: bool = False) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.query_key_value = conv1x1_depthwise(channels, 3 * channels, biases=(bias, bias))
        self.project = nn.Conv2d(channels, channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        return self.project(attend_channels(*self.query_key_value(x).chunk(3, dim=1), self.temperature))


class FeedForward(nn.Module):
    """Restormer's gated depth-wise feed-forward (`gated`, [S]) or a plain per-pixel one (`mlp`).

    Args:
        channels: C.
        expansion: Hidden channels as a multiple of C.
        kind: `gated` multiplies GELU(a) by b, both from a depth-wise 3x3 convolution; `mlp` is 1x1, GELU, 1x1.
        bias: Whether the convolutions of `gated` have a bias.
    """

    def __init__(self, channels: int, expansion: float, kind: FeedForwardKind = "gated", bias: bool = False) -> None:
        super().__init__()
        hidden = max(1, int(channels * expansion))
        self.gated = gated = kind == "gated"
        self.expand = (
            conv1x1_depthwise(channels, 2 * hidden, biases=(bias, bias)) if gated else nn.Conv2d(channels, hidden, 1)
        )
        self.project = nn.Conv2d(hidden, channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        x = self.expand(x)
        if self.gated:
            gate, x = x.chunk(2, dim=1)
            return self.project(F.gelu(gate) * x)
        return self.project(F.gelu(x))


class TransformerBlock(nn.Module):
    """x = x + SelfAttention(Norm(x));  x = x + FFN(Norm(x)): the block of Restormer.

    Args:
        channels: C.
        heads: h; must divide `channels`.
        expansion: Hidden channels of the feed-forward as a multiple of C.
        norm: `biased` or `bias_free`.
        bias: Whether the convolutions have a bias.
    """

    def __init__(
        self, channels: int, heads: int, expansion: float, norm: RestormerNorm = "biased", bias: bool = False
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = RESTORMER_NORMS[norm](channels), RESTORMER_NORMS[norm](channels)
        self.attention = SelfAttention(channels, heads, bias)
        self.ffn = FeedForward(channels, expansion, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        x = x + self.attention(self.norm1(x))
        return x + self.ffn(self.norm2(x))


def local_means(x: Tensor, side: int | None, dims: tuple[int, int] = (2, 3)) -> Tensor:
    """Return the mean of a feature map around each pixel, over `side` x `side` pixels, or over all of it.

    A network that has learned on crops, with means over them, sees other means in a large image. Windows of the size of
    the crops (in the paper one and a half times as large) mend that without a new training. At the edges the outermost
    window counts.

    Args:
        x: The feature map.
        side: Side of the windows in its pixels; None = all of it.
        dims: The dimensions of height and width. One that is no longer than `side` has length 1 in the result;
            while the network is exported with a given `side`, both keep their length.
    """
    if side is None or not torch.compiler.is_exporting() and side >= max(x.shape[dim] for dim in dims):
        return x.mean(dims, keepdim=True)
    for dim in dims:
        x = _moving_mean(x, side, dim)
    return x


def _moving_mean(x: Tensor, side: int, dim: int) -> Tensor:
    length = x.shape[dim]
    if torch.compiler.is_exporting():
        side = torch.sym_min(side, length)
    elif side >= length:
        return x.mean(dim, keepdim=True)
    sums = x.float().cumsum(dim)
    sums = torch.cat([torch.zeros_like(sums.narrow(dim, 0, 1)), sums], dim)
    means = (sums.narrow(dim, side, length - side + 1) - sums.narrow(dim, 0, length - side + 1)) / side
    nearest = (torch.arange(length, device=x.device) - (side - 1) // 2).clamp(0, length - side)
    return means.index_select(dim, nearest).to(x.dtype)


def downsample(channels: int, kind: SamplingKind) -> nn.Sequential:
    """Return (B, C, H, W) -> (B, 2C, H/2, W/2): 3x3 convolution and pixel unshuffle ([S]), or a strided convolution."""
    if kind == "strided":
        return nn.Sequential(nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=False))
    return nn.Sequential(nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False), nn.PixelUnshuffle(2))


def upsample(channels: int, kind: SamplingKind) -> nn.Sequential:
    """Return (B, C, H, W) -> (B, C/2, 2H, 2W): 3x3 convolution and pixel shuffle ([S]), or a transposed convolution."""
    if kind == "strided":
        return nn.Sequential(nn.ConvTranspose2d(channels, channels // 2, 2, stride=2, bias=False))
    return nn.Sequential(nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False), nn.PixelShuffle(2))


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad (B, C, H, W) at the right and bottom to multiples, by reflection, or by the edge pixel if it is too small."""
    if torch.compiler.is_exporting():
        return reflect_to_multiple(x, multiple)
    H, W = x.shape[-2:]
    bottom, right = -H % multiple, -W % multiple
    mode = "reflect" if bottom < H and right < W else "replicate"
    return F.pad(x, (0, right, 0, bottom), mode=mode) if bottom or right else x


def reflect_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad as `pad_to_multiple` does, by operations that one graph for images of any size above `multiple` can have."""
    for dim in (2, 3):
        last = x.shape[dim] - 1
        place = torch.arange((last + multiple) // multiple * multiple, device=x.device)
        x = x.index_select(dim, last - (last - place).abs())  # 0, 1, ..., n - 1, n - 2, ...
    return x


def level_widths(channels: int, encoder_blocks: Sequence[int], decoder_blocks: Sequence[int]) -> list[int]:
    """Return the channels of each level of a U-shaped network, which double from level to level, the lowest last.

    Raises:
        ValueError: Unequal numbers of encoder and decoder levels; the text begins with the config key.
    """
    if len(encoder_blocks) != len(decoder_blocks):
        raise ValueError(
            f"model.decoder_blocks: {len(decoder_blocks)} levels, but the encoder has {len(encoder_blocks)}"
        )
    return [channels * 2**level for level in range(len(encoder_blocks) + 1)]


def check_heads(heads: tuple[int, ...], channels: int) -> None:
    """Check that each level's heads divide its channels, which double from level to level.

    Raises:
        ValueError: They do not; the message begins with the config key.
    """
    for level, count in enumerate(heads):
        width = channels * 2**level
        if width % count:
            raise ValueError(f"model.heads: {count} heads do not divide the {width} channels of level {level}")
