"""Low-rank experts: one plain expert, and a bank of N whose cost does not depend on N.

Shape legend: B images, C channels, R rank (C_R in the paper), N experts, H x W pixels, k kernel side.

Every expert has the same design (overview figure [F]):

    h = 1x1( Proj_{C -> R}(y) );    out = 1x1( h * kxk(h) )        `*` element-wise, kxk depth-wise or dense [C]

There is no non-linearity between `Proj` and the first 1x1, so both classes multiply the two small matrices first and
apply the product to the pixels; the result is the same up to rounding.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import Tensor, nn


@dataclass(frozen=True)
class ExpertLayout:
    """The number and ranks of each learner's experts (config group `experts`).

    Args:
        count: N, the specialised experts of each learner; 0 removes them.
        rank: Rank at the first level.
        layout: `constant`: `rank` everywhere; `pyramid` [C]: doubles with each level, as the channels do; `spread`: as
            `pyramid`, and within a level expert i has (i + 1) / N of the level's rank, so that a simple degradation can
            be given a small expert (MoCE-IR, Zamfir et al., CVPR 2025).
        kernel: k, side of the convolution, odd [C].
        depthwise: Whether the kxk convolution keeps the R channels apart [C]; if false it mixes them, with R times as
            many weights.
        agnostic: Whether there is the agnostic expert E_A, applied to every image [F].
    """

    count: Annotated[int, Ge(0), Le(4096)] = 5
    rank: Annotated[int, Ge(1)] = 8
    layout: Literal["constant", "pyramid", "spread"] = "pyramid"
    kernel: Annotated[int, Ge(1)] = 3
    depthwise: bool = True
    agnostic: bool = True

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0:
            raise ValueError(f"experts.kernel: must be odd, got {self.kernel}")

    def rank_at(self, level: int) -> int:
        """Return R at `level` (0 is full resolution)."""
        return self.rank if self.layout == "constant" else self.rank * 2**level

    def expert_ranks(self, level: int) -> tuple[int, ...]:
        """Return the rank of each of the N specialised experts at `level`; the largest is `rank_at(level)`."""
        full = self.rank_at(level)
        if self.layout != "spread":
            return (full,) * self.count
        return tuple(max(1, full * (i + 1) // self.count) for i in range(self.count))


class Expert(nn.Module):
    """One expert, (B, C, H, W) -> (B, R, H, W); also the agnostic expert E_A and the control expert E_C."""

    def __init__(self, channels: int, rank: int, kernel: int = 3, depthwise: bool = True) -> None:
        super().__init__()
        self.project = nn.Parameter(torch.empty(rank, channels))
        self.mix_in = nn.Parameter(torch.empty(rank, rank))
        self.depthwise = nn.Parameter(torch.empty(rank, *(() if depthwise else (rank,)), kernel, kernel))
        self.bias = nn.Parameter(torch.empty(rank))
        self.mix_out = nn.Parameter(torch.empty(rank, rank))
        reset_expert(self.project, self.mix_in, self.depthwise, self.bias, self.mix_out)

    def forward(self, y: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, R, H, W)."""
        h = F.conv2d(y, (self.mix_in @ self.project)[:, :, None, None])
        gate = _convolve(h, self.depthwise, self.bias)
        return F.conv2d(h * gate, self.mix_out[:, :, None, None])


class ExpertBank(nn.Module):
    """N experts as stacked parameters; the weights of each image's expert are gathered, without a loop over experts.

    One step costs the same for any N: the weights of the B chosen experts are gathered, the 1x1 convolutions become
    batched matrix products and the kxk one a single convolution with B*R groups. All parameters receive a (possibly
    zero) gradient in each step, so distributed training needs no search for unused ones.

    Experts of smaller rank (`spread`) occupy the first rows of the stack; the rest is structural zero: it starts at
    zero, a mask keeps its gradient at zero, `after_update` keeps it at zero, and `num_padding` is its size.

    Args:
        channels: C.
        ranks: The rank of each expert; N = len(ranks), R = max(ranks).
        kernel: k, odd.
        depthwise: Whether the kxk convolution keeps the R channels apart.
    """

    def __init__(self, channels: int, ranks: tuple[int, ...], kernel: int = 3, depthwise: bool = True) -> None:
        super().__init__()
        N, R, k = len(ranks), max(ranks), kernel
        self.ranks = tuple(ranks)
        self.project = nn.Parameter(torch.zeros(N, R, channels))
        self.mix_in = nn.Parameter(torch.zeros(N, R, R))
        self.depthwise = nn.Parameter(torch.zeros(N, R, *(() if depthwise else (R,)), k, k))
        self.bias = nn.Parameter(torch.zeros(N, R))
        self.mix_out = nn.Parameter(torch.zeros(N, R, R))
        for stack in self.parameters(recurse=False):
            stack.is_bank = True  # `daair.optim.muon` must not take it for one matrix
        mask = (torch.arange(R) < torch.tensor(ranks)[:, None]).float()  # (N, R)
        self.register_buffer("mask", mask if min(ranks) < R else None, persistent=False)
        for i, r in enumerate(ranks):
            reset_expert(*self.expert_parameters(i, r))

    def expert_parameters(self, i: int, rank: int | None = None) -> tuple[Tensor, ...]:
        """Return views of expert i's parameters: project (r, C), mix_in (r, r), depthwise (r, k, k), bias (r), mix_out.

        A dense kxk convolution has (r, r, k, k) in place of (r, k, k).
        """
        r = self.ranks[i] if rank is None else rank
        depthwise = self.depthwise[i, :r] if self.depthwise.dim() == 4 else self.depthwise[i, :r, :r]
        stacks = (self.project[i, :r], self.mix_in[i, :r, :r], depthwise, self.bias[i, :r])
        return (*stacks, self.mix_out[i, :r, :r])

    @property
    def num_padding(self) -> int:
        """Return how many of the stacked numbers belong to no expert."""
        used = sum(t.numel() for i in range(len(self.ranks)) for t in self.expert_parameters(i))
        return sum(p.numel() for p in self.parameters()) - used

    @torch.no_grad()
    def after_update(self) -> None:
        """Set the padding to zero again.

        Muon mixes the rows of a stack, so it moves the padding though the gradient there is zero.
        """
        if self.mask is None:
            return
        rows = self.mask[:, :, None]
        both = rows * self.mask[:, None]
        self.project.mul_(rows)
        self.mix_in.mul_(both)
        self.depthwise.mul_(rows[..., None] if self.depthwise.dim() == 4 else both[..., None, None])
        self.bias.mul_(self.mask)
        self.mix_out.mul_(both)

    def forward(self, y: Tensor, index: Tensor) -> Tensor:
        """Send image b of `y` (B, C, H, W) through expert `index[b]`, (B,) int64; returns (B, R, H, W)."""
        B, _, H, W = y.shape
        R = self.project.shape[1]
        project, mix_in, depthwise, bias, mix_out = (
            p.index_select(0, index) for p in (self.project, self.mix_in, self.depthwise, self.bias, self.mix_out)
        )
        h = (mix_in @ project) @ y.flatten(2)  # (B, R, C) @ (B, C, HW)
        if torch.compiler.is_exporting():
            gate = _convolve_each(h.reshape(B, R, H, W), depthwise, bias)
        else:
            images_as_groups = h.reshape(1, B * R, H, W)
            gate = _convolve(images_as_groups, depthwise.flatten(0, 1), bias.flatten())
        out = mix_out @ (h * gate.reshape(B, R, H * W))
        if self.mask is not None:
            out = out * self.mask.index_select(0, index)[:, :, None]
        return out.reshape(B, R, H, W)

    def forward_all(self, y: Tensor) -> Tensor:
        """Send every image of `y` (B, C, H, W) through every expert; returns (B, N, R, H, W). Cost grows with N."""
        B, C, H, W = y.shape
        N, R = self.project.shape[:2]
        h = F.conv2d(y, (self.mix_in @ self.project).reshape(N * R, C, 1, 1))
        gate = _convolve(h, self.depthwise.flatten(0, 1), self.bias.flatten())
        out = F.conv2d(h * gate, self.mix_out.reshape(N * R, R, 1, 1), groups=N).reshape(B, N, R, H, W)
        return out if self.mask is None else out * self.mask[:, :, None, None]


def _convolve(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve `h` (B, G, H, W) depth-wise with (G, k, k), or in groups of R channels with (G, R, k, k)."""
    weight = weight[:, None] if weight.dim() == 3 else weight
    return F.conv2d(h, weight, bias, padding=weight.shape[-1] // 2, groups=weight.shape[0] // weight.shape[1])


def _convolve_each(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve each image of `h` (B, R, H, W) by its own filters, (B, R, k, k) or (B, R, R, k, k), as matrix products.

    An exported graph for any B needs this, because ONNX has no convolution with as many groups as the batch has images.
    """
    (B, R, H, W), k = h.shape, weight.shape[-1]
    each_tap = torch.eye(k * k, dtype=h.dtype).view(k * k, 1, k, k)
    moved = F.conv2d(h.reshape(B * R, 1, H, W), each_tap, padding=k // 2)  # (B * R, k^2, H, W), h moved by each tap
    if weight.dim() == 4:
        out = weight.reshape(B * R, 1, k * k) @ moved.reshape(B * R, k * k, H * W)
    else:
        out = weight.reshape(B, R, R * k * k) @ moved.reshape(B, R * k * k, H * W)
    return out.reshape(B, R, H, W) + bias[:, :, None, None]


@torch.no_grad()
def reset_expert(project: Tensor, mix_in: Tensor, depthwise: Tensor, bias: Tensor, mix_out: Tensor) -> None:
    """Initialise an expert in place, preserving the variance [C]: h * kxk(h) begins as h * (1 + small), nearly linear.

    With the usual fan-in initialisation the two nested products of a learner (gate and E_D * E_A) would begin as
    fourth powers of numbers far below one, and the learner's output would be almost zero.
    """
    if project.is_meta:
        return  # fake tensors need no values, and config checks build many networks
    rank, channels = project.shape
    project.normal_(std=channels**-0.5)
    mix_in.normal_(std=rank**-0.5)
    depthwise.normal_(std=0.1 / math.sqrt(depthwise[0].numel()))
    bias.fill_(1.0)
    mix_out.normal_(std=rank**-0.5)
