"""SwinIR: residual groups of Swin transformer blocks at full resolution.

"SwinIR: Image Restoration Using Swin Transformer", Liang, Cao, Sun, Zhang, Van Gool, Timofte, ICCVW 2021, arXiv
2108.10257; its blocks are those of "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", Liu, Lin,
Cao, Hu, Wei, Zhang, Lin, Guo, ICCV 2021, arXiv 2103.14030. This is the variant for images that keep their size
(denoising, JPEG artifacts), without an upsampler. Written from the papers; `from_published` converts the checkpoints of
the authors' release.

Shape legend: B images, C channels, H x W pixels, h heads, c = C / h channels of a head, s side of a window,
w = H W / s^2 windows. Inside of the groups features are (B, H, W, C).

    x -> 3x3 -> groups (blocks, 3x3, +) -> norm -> 3x3 -> + -> 3x3 -> + x
"""

import re
from collections.abc import Mapping
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt, MinLen
from torch import Tensor, nn

from daair.models.layers import pad_to_multiple
from daair.models.processes import own_part
from daair.submodules import submodule

trunc_normal_ = submodule("timm.layers.weight_init").trunc_normal_

Positive = Annotated[int, Ge(1)]
MEAN = (0.4488, 0.4371, 0.4040)  # mean red, green and blue values of DIV2K, which the network subtracts


class WindowAttention(nn.Module):
    """Self-attention between the s^2 pixels of each window, with a learned bias for each relative position.

    Args:
        channels: C; must be divisible by `heads`.
        heads: h.
        window: s.
    """

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        self.bias = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        trunc_normal_(self.bias, std=0.02)
        place = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        offset = place[:, :, None] - place[:, None, :] + window - 1  # (2, s^2, s^2) in [0, 2s - 2]
        self.register_buffer("offset", offset[0] * (2 * window - 1) + offset[1], persistent=False)

    def forward(self, x: Tensor, apart: Tensor | None) -> Tensor:
        """Attend within windows (B, w, s^2, C); pixel pairs marked in `apart` (w, s^2, s^2) are excluded."""
        query, key, value = self.query_key_value(x).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)  # (B, w, h, s^2, s^2)
        scores = scores.float() + self.bias[self.offset].permute(2, 0, 1).float()
        if apart is not None:
            scores = scores.masked_fill(apart[:, None], float("-inf"))
        out = scores.softmax(dim=-1).to(value.dtype) @ value
        return self.project(out.transpose(-3, -2).flatten(-2))


class DropPath(nn.Module):
    """Stochastic depth (Huang et al., ECCV 2016), whose random choice does not depend on the number of processes."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` (B, ...) with the branch of some images set to zero, scaled to keep its expectation."""
        if not self.training or self.rate == 0:
            return x
        ones = [1] * (x.dim() - 1)
        kept = own_part(len(x), lambda images: x.new_empty(images, *ones).bernoulli_(1 - self.rate))
        return x * kept / (1 - self.rate)


class Block(nn.Module):
    """x = x + WindowAttention(Norm(x));  x = x + MLP(Norm(x)); every second block shifts the windows by half of one."""

    def __init__(
        self, channels: int, heads: int, window: int, expansion: float, shifted: bool, drop_path: float
    ) -> None:
        super().__init__()
        self.window, self.shift = window, window // 2 if shifted else 0
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = WindowAttention(channels, heads, window)
        hidden = int(channels * expansion)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, apart: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H, W, C); `apart` is from `seams`."""
        H, W = x.shape[1:3]
        y = self.norm1(x)
        if self.shift:
            y = y.roll((-self.shift, -self.shift), (1, 2))
        y = _merge(self.attention(_split(y, self.window), apart if self.shift else None), self.window, H, W)
        if self.shift:
            y = y.roll((self.shift, self.shift), (1, 2))
        x = x + self.drop_path(y)
        return x + self.drop_path(self.mlp(self.norm2(x)))


class Group(nn.Module):
    """Blocks and a 3x3 convolution around a shortcut."""

    def __init__(self, channels: int, blocks: list[Block]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.out = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, apart: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H, W, C)."""
        y = x
        for block in self.blocks:
            y = block(y, apart)
        return x + self.out(y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class SwinIR(nn.Module):
    """The SwinIR network, for images of any size (padded to a multiple of the window, then cropped back).

    Args:
        channels: C.
        blocks: Blocks of each group; every second block shifts its windows.
        heads: Attention heads of each group; each divides the channels.
        window: s, the side of a window in pixels.
        expansion: Hidden channels of the MLP as a multiple of C.
        drop_path: Probability of leaving out the last block's branches in training; it increases linearly from 0 at
            the first block.

    Raises:
        ValueError: The sizes do not fit together; the message begins with the config key.
    """

    def __init__(
        self,
        channels: Positive = 60,
        blocks: Annotated[tuple[Positive, ...], MinLen(1)] = (6, 6, 6, 6),
        heads: Annotated[tuple[Positive, ...], MinLen(1)] = (6, 6, 6, 6),
        window: Annotated[int, Ge(2)] = 8,
        expansion: Annotated[float, Gt(0)] = 2.0,
        drop_path: Annotated[float, Ge(0), Lt(1)] = 0.1,
    ) -> None:
        super().__init__()
        if len(heads) != len(blocks):
            raise ValueError(f"model.heads: {len(heads)} numbers for {len(blocks)} groups")
        for count in heads:
            if channels % count:
                raise ValueError(f"model.heads: {count} heads do not divide the {channels} channels")
        self.window = self.multiple = window
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.embed = nn.Conv2d(3, channels, 3, padding=1)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        rate = drop_path / max(1, sum(blocks) - 1)
        self.groups = nn.ModuleList()
        for group, (depth, count) in enumerate(zip(blocks, heads, strict=True)):
            before = sum(blocks[:group])
            made = [Block(channels, count, window, expansion, bool(k % 2), rate * (before + k)) for k in range(depth)]
            self.groups.append(Group(channels, made))
        self.fuse = nn.Conv2d(channels, channels, 3, padding=1)
        self.out = nn.Conv2d(channels, 3, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Restore `x` (B, 3, H, W), values in [0, 1]; the result has its shape and dtype and is not clamped."""
        H, W = x.shape[-2:]
        first = self.embed(pad_to_multiple(x, self.multiple) - self.mean.to(x.dtype))
        feature = self.norm1(first.permute(0, 2, 3, 1))
        apart = seams(*feature.shape[1:3], self.window, x.device)
        for group in self.groups:
            feature = group(feature, apart)
        feature = first + self.fuse(self.norm2(feature).permute(0, 3, 1, 2))
        return x + self.out(feature)[..., :H, :W].to(x.dtype)

    @staticmethod
    def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the authors' state dict with the names used here; one that has these names is returned unchanged.

        The tables of positions and seams are left out, because they follow from the sizes.
        """
        if "conv_first.weight" not in state:
            return dict(state)
        renamed = {}
        for name, tensor in state.items():
            if name.endswith((".attn_mask", ".relative_position_index")):
                continue
            for pattern, replacement in _PUBLISHED:
                name = re.sub(pattern, replacement, name)
            renamed[name] = tensor
        return renamed


def seams(height: int, width: int, window: int, device: torch.device) -> Tensor:
    """Return which pixel pairs of a shifted window are from opposite borders of the image, (w, s^2, s^2) bool."""

    def strip(length: int) -> Tensor:  # the parts that the shift brings together: inside, the last window's halves
        place = torch.arange(length, device=device)
        return (place >= length - window).long() + (place >= length - window // 2)

    region = 3 * strip(height)[:, None] + strip(width)
    region = _split(region[None, ..., None], window)[0, ..., 0]  # (w, s^2)
    return region[:, :, None] != region[:, None, :]


def _split(x: Tensor, window: int) -> Tensor:
    """Cut (B, H, W, C) into windows (B, w, s^2, C)."""
    x = x.unflatten(2, (-1, window)).unflatten(1, (-1, window))
    return x.transpose(2, 3).flatten(1, 2).flatten(2, 3)


def _merge(x: Tensor, window: int, height: int, width: int) -> Tensor:
    """Put windows (B, w, s^2, C) together to (B, H, W, C)."""
    x = x.unflatten(2, (window, window)).unflatten(1, (height // window, width // window))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


_PUBLISHED = [
    (r"^conv_first\.", "embed."),
    (r"^patch_embed\.norm\.", "norm1."),
    (r"^norm\.", "norm2."),
    (r"^conv_after_body\.", "fuse."),
    (r"^conv_last\.", "out."),
    (r"^layers\.(\d+)\.conv\.", r"groups.\1.out."),
    (r"^layers\.(\d+)\.residual_group\.blocks\.", r"groups.\1.blocks."),
    (r"\.attn\.relative_position_bias_table$", ".attention.bias"),
    (r"\.attn\.qkv\.", ".attention.query_key_value."),
    (r"\.attn\.proj\.", ".attention.project."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.2."),
]
