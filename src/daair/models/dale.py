"""DaLe, the degradation-aware learner, and the controller of the decoder.

Shape legend: B images, C channels, R rank, N specialised experts, H x W pixels.
Source: overview figure of DaAIR (arXiv 2405.15475); see the marks [F] drawn, [S] successor, [C] our choice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Interval
from torch import Tensor, nn

from daair.models.experts import Expert, ExpertBank, ExpertLayout
from daair.models.router import Routing

RouterFactory = Callable[..., nn.Module]  # called with channels=C, count=N


class DaLe(nn.Module):
    """out = Proj_{R -> C}( E_D^i(y) * E_A(y) ), with i chosen by the router [F].

    Either factor can be removed (`experts.count=0`, `experts.agnostic=false`); without both the learner is the
    identity.

    Args:
        channels: C.
        level: 0 at full resolution; it determines the rank.
        layout: Number and ranks of the experts.
        router: Factory of the router.
        residual: Whether to add y to the output; false as drawn [F].
    """

    def __init__(
        self, channels: int, level: int, layout: ExpertLayout, router: RouterFactory, residual: bool = False
    ) -> None:
        super().__init__()
        rank, self.residual = layout.rank_at(level), residual
        self.agnostic = Expert(channels, rank, layout.kernel, layout.depthwise) if layout.agnostic else None
        self.specialised, self.router = None, None
        if layout.count:
            self.specialised = ExpertBank(channels, layout.expert_ranks(level), layout.kernel, layout.depthwise)
            self.router = router(channels=channels, count=layout.count)
        removed = self.agnostic is None and self.specialised is None
        self.project = None if removed else nn.Conv2d(rank, channels, 1, bias=False)

    def forward(self, y: Tensor, image: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Routing | None]:
        """Map `y` (B, C, h, w) to its degradation-aware embedding of the same shape.

        Args:
            y: The normalised features of the level.
            image: (B, 3, H, W), the network's input, for the router.
            labels: (B,) degradations, for the router.

        Returns:
            The embedding, and the routing; None without specialised experts.
        """
        if self.project is None:
            return y, None
        out, routing = None, None
        if self.specialised is not None:
            routing = self.router(y, image, labels)
            out = self._specialised(y, routing)
        if self.agnostic is not None:
            shared = self.agnostic(y)
            out = shared if out is None else out * shared
        out = self.project(out)
        return (y + out if self.residual else out), routing

    def _specialised(self, y: Tensor, routing: Routing) -> Tensor:
        gates = routing.gates.to(y.dtype)
        if routing.index is None:
            return (self.specialised.forward_all(y) * gates[:, :, None, None, None]).sum(dim=1)
        gate = gates.gather(1, routing.index[:, None])  # (B, 1)
        return self.specialised(y, routing.index) * gate[:, :, None, None]


@dataclass(frozen=True)
class Control:
    """The control of the decoder (config group `control`).

    Args:
        update: Origin of the control expert E_C. `ema` [C]: after each optimizer step it moves towards the
            agnostic experts of the encoder level with as many channels, and gets no gradient; `tied`: it is that
            level's last agnostic expert; `gradient`: an ordinary trained expert; `none`: no controller, the decoder
            attends to itself.
        momentum: m of `ema` in theta_C <- m theta_C + (1 - m) theta_A [C].
        source: theta_A of `ema`: the `mean` over the level's agnostic experts, or the `last` of them [C].
        query: Source of the queries in the cross-attention: the learner's output (`dale`, [S]) or the `control`.
    """

    update: Literal["ema", "tied", "gradient", "none"] = "ema"
    momentum: Annotated[float, Interval(ge=0, le=1)] = 0.999
    source: Literal["mean", "last"] = "mean"
    query: Literal["dale", "control"] = "dale"

    @torch.no_grad()
    def move(self, expert: nn.Module, agnostic: Sequence[nn.Module], momentum: float) -> None:
        """Make the parameter update of `ema` in place: theta_C <- m theta_C + (1 - m) theta_A.

        Args:
            expert: E_C.
            agnostic: The agnostic experts of the encoder level in order, with parameters like those of E_C.
            momentum: m; with 0 theta_A is copied.
        """
        leading = agnostic if self.source == "mean" else agnostic[-1:]
        for own, *theirs in zip(expert.parameters(), *(one.parameters() for one in leading), strict=True):
            own.lerp_(torch.stack(theirs).mean(dim=0), 1 - momentum)


class Controller(nn.Module):
    """E_C and its projection: (B, C, H, W) -> (B, C, H, W), the context of the decoder's cross-attention [F].

    Args:
        channels: C.
        rank: R of the level.
        kernel, depthwise: As in `ExpertLayout`.
        update: See `Control`. Under `ema` the expert's parameters require no gradient; under `tied` there is no expert.
    """

    def __init__(self, channels: int, rank: int, kernel: int, update: str, depthwise: bool = True) -> None:
        super().__init__()
        expert = None if update == "tied" else Expert(channels, rank, kernel, depthwise)
        self.expert = None if expert is None else expert.requires_grad_(update == "gradient")
        self.project = nn.Conv2d(rank, channels, 1, bias=False)

    def forward(self, y: Tensor, tied: Expert | None = None) -> Tensor:
        """Apply E_C, or the encoder's expert `tied` instead, to `y` (B, C, H, W)."""
        expert = self.expert if tied is None else tied
        return self.project(expert(y))
