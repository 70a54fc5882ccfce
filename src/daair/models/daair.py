"""DaAIR: one efficient network for any image restoration.

"Efficient Degradation-aware Any Image Restoration", Zamfir, Wu, Mehta, Paudel, Zhang, Timofte, arXiv 2405.15475. The
authors released no code. This implementation follows the abstract [A] and the overview figure [F]. Where the figure
does not say, it follows the same authors' successor MoCE-IR [S], or makes its own choice [C]. Each [S] and [C] is an
argument below.

Shape legend: B images, C channels of level 0, H x W pixels, L learners, N specialised experts. Level l has C * 2^l
channels at 1 / 2^l of the resolution.

    x -> 3x3 -> encoder 0 -> 1 -> 2 -> 3 (bottleneck) -> decoder 2 -> 1 -> 0 -> 3x3 -> + x
"""

from typing import Annotated

import torch
from annotated_types import Ge, Gt, Len
from torch import Tensor, nn

from daair.models.dale import Control, Controller, DaLe, RouterFactory
from daair.models.experts import Expert, ExpertBank, ExpertLayout
from daair.models.layers import (
    NORMS,
    WINDOW,
    Attention,
    AttentionKind,
    FeedForward,
    FeedForwardKind,
    NormKind,
    SamplingKind,
    check_heads,
    downsample,
    pad_to_multiple,
    upsample,
)
from daair.models.router import Routing, Top1
from daair.models.training import Learned

Positive = Annotated[int, Ge(1)]


class EncoderBlock(nn.Module):
    """y = Norm(x);  x = x + SelfAttention(DaLe(y));  x = x + FFN(Norm(x)) [F]."""

    def __init__(self, channels: int, dale: DaLe, attention: Attention, ffn: FeedForward, norm: type[nn.Module]):
        super().__init__()
        self.norm1, self.norm2 = norm(channels), norm(channels)
        self.dale, self.attention, self.ffn = dale, attention, ffn

    def forward(self, x: Tensor, image: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Routing | None]:
        """Map features (B, C, h, w) to features; also return the learner's routing, see `DaLe.forward`."""
        embedded, routing = self.dale(self.norm1(x), image, labels)
        x = x + self.attention(embedded)
        return x + self.ffn(self.norm2(x)), routing


class DecoderBlock(EncoderBlock):
    """y = Norm(x);  x = x + CrossAttention(DaLe(y), Control(y));  x = x + FFN(Norm(x)) [F]."""

    def __init__(self, *args, controller: Controller | None, query: str) -> None:
        super().__init__(*args)
        self.controller, self.query = controller, query

    def forward(self, x: Tensor, image: Tensor, labels: Tensor | None = None, tied: Expert | None = None):
        """Map features as the encoder's block does; `tied` is the control expert under `control.update=tied`."""
        y = self.norm1(x)
        embedded, routing = self.dale(y, image, labels)
        if self.controller is None:
            x = x + self.attention(embedded)
        else:
            control = self.controller(y, tied)
            pair = (embedded, control) if self.query == "dale" else (control, embedded)
            x = x + self.attention(*pair)
        return x + self.ffn(self.norm2(x)), routing


class DaAIR(nn.Module):
    """The DaAIR network, for images of any size (padded by reflection to a multiple of 8, then cropped back).

    Args:
        channels: C.
        encoder_blocks: Blocks of the four encoder levels; the fourth is the bottleneck [F].
        decoder_blocks: Blocks of the three decoder levels, full resolution first; fewer than the encoder's [S].
        heads: Attention heads of the four levels; each divides its level's channels.
        expansion: Hidden channels of the feed-forward as a multiple of its channels.
        experts: Number and ranks of the experts.
        router: Factory of the routers, called with `channels` and `count`.
        control: The decoder's controller and its parameter update.
        dale_residual: Whether there is a shortcut around DaLe; false as drawn [F], true is our addition [C].
        attention, ffn, norm, sampling: See `layers`; the defaults are the successor's [S].
        skip_kernel: Side of the convolution that halves the concatenated skip, 1 [S] or 3.

    Raises:
        ValueError: The sizes do not fit together; the message begins with the config key.
    """

    def __init__(
        self,
        channels: Annotated[int, Ge(2)] = 32,
        encoder_blocks: Annotated[tuple[Positive, ...], Len(4, 4)] = (2, 3, 3, 4),
        decoder_blocks: Annotated[tuple[Positive, ...], Len(3, 3)] = (2, 2, 2),
        heads: Annotated[tuple[Positive, ...], Len(4, 4)] = (1, 2, 4, 8),
        expansion: Annotated[float, Gt(0)] = 2.0,
        experts: ExpertLayout = ExpertLayout(),  # noqa: B008 - frozen
        router: RouterFactory = Top1,
        control: Control = Control(),  # noqa: B008 - frozen
        dale_residual: bool = False,
        attention: AttentionKind = "channel",
        ffn: FeedForwardKind = "gated",
        norm: NormKind = "layer",
        sampling: SamplingKind = "shuffle",
        skip_kernel: Annotated[int, Ge(1)] = 1,
    ) -> None:
        super().__init__()
        _check(channels, heads, experts, control, skip_kernel)
        self.control = control
        self.multiple = 8 * (WINDOW if attention == "window" else 1)
        widths = [channels * 2**level for level in range(4)]

        def parts(level: int) -> tuple:
            dale = DaLe(widths[level], level, experts, router, dale_residual)
            attend = Attention(widths[level], heads[level], attention)
            return widths[level], dale, attend, FeedForward(widths[level], expansion, ffn), NORMS[norm]

        def controller(level: int) -> Controller | None:
            if control.update == "none":
                return None
            rank = experts.rank_at(level)
            return Controller(widths[level], rank, experts.kernel, control.update, experts.depthwise)

        self.embed = nn.Conv2d(3, channels, 3, padding=1)
        self.encoder = nn.ModuleList(
            nn.ModuleList(EncoderBlock(*parts(level)) for _ in range(depth))
            for level, depth in enumerate(encoder_blocks)
        )
        self.down = nn.ModuleList(downsample(width, sampling) for width in widths[:3])
        self.up = nn.ModuleList(upsample(width, sampling) for width in widths[1:])
        self.skip = nn.ModuleList(
            nn.Conv2d(2 * width, width, skip_kernel, padding=skip_kernel // 2, bias=False) for width in widths[:3]
        )
        self.decoder = nn.ModuleList(
            nn.ModuleList(
                DecoderBlock(*parts(level), controller=controller(level), query=control.query) for _ in range(depth)
            )
            for level, depth in enumerate(decoder_blocks)
        )
        self.out = nn.Conv2d(channels, 3, 3, padding=1)
        nn.init.zeros_(self.out.weight)  # an untrained network returns its input
        nn.init.zeros_(self.out.bias)
        self._update_control(momentum=0.0)
        banks = (module for module in self.modules() if isinstance(module, ExpertBank))
        self._padded = [bank for bank in banks if bank.mask is not None]  # once, not in each update
        if any(hasattr(router, "pretraining") for router in self._routers()):
            raise ValueError("router: this one learns apart, before the rest, which only model=daair_naf provides for")

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Restore `x` (B, 3, H, W), values in [0, 1]; the result has its shape and dtype and is not clamped.

        Args:
            x: Degraded images.
            labels: (B,) int64 degradations; only needed by `router=oracle`.
        """
        return self.routed(x, labels).image

    def routed(self, x: Tensor, labels: Tensor | None = None) -> Learned:
        """Restore as `forward` does; also return the gates and L_aux of the learners (0 but in training)."""
        H, W = x.shape[-2:]
        feature, routings = self._features(x, labels)
        image = x + self.out(feature)[..., :H, :W].to(x.dtype)
        routings = [routing for routing in routings if routing is not None]
        if not routings:
            return Learned(image)
        aux = torch.stack([routing.aux for routing in routings])
        aux = aux.mean() if self._balance is None else self._balance(aux)
        return Learned(image, {"router": aux}, torch.stack([routing.gates for routing in routings]))

    @property
    def terms(self) -> tuple[str, ...]:
        """Return the names of the further loss terms: `router`, if there are routers."""
        return ("router",) if self._routers() else ()

    @property
    def needs_labels(self) -> bool:
        """Return whether `forward` needs the degradation labels."""
        return any(getattr(router, "needs_labels", False) for router in self._routers())

    def _routers(self) -> list[nn.Module]:
        return [m.router for m in self.modules() if isinstance(m, DaLe) and m.router is not None]

    @property
    def _balance(self) -> nn.Module | None:
        """Return the module that computes L_aux of all learners: the first router's, since all routers are alike."""
        return getattr(next(iter(self._routers()), None), "balance", None)

    def _features(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, list[Routing | None]]:
        """Return the features (B, C, H, W) of `x` (B, 3, H, W), padded, and each learner's routing, encoder first."""
        routings, skips = [], []
        feature = self.embed(pad_to_multiple(x, self.multiple))
        for level, blocks in enumerate(self.encoder):
            for block in blocks:
                feature, routing = block(feature, x, labels)
                routings.append(routing)
            if level < 3:
                skips.append(feature)
                feature = self.down[level](feature)
        for level in (2, 1, 0):
            feature = self.skip[level](torch.cat([self.up[level](feature), skips[level]], dim=1))
            tied = self.encoder[level][-1].dale.agnostic if self.control.update == "tied" else None
            for block in self.decoder[level]:
                feature, routing = block(feature, x, labels, tied)
                routings.append(routing)
        return feature, routings

    def after_update(self) -> None:
        """Make the parameter update after an optimizer step [F, A], and tidy up the experts' padding and balance.

        The update depends only on the parameters, so processes with equal parameters keep equal parameters.
        """
        self._update_control(self.control.momentum)
        for bank in self._padded:
            bank.after_update()
        if hasattr(self._balance, "after_update"):
            self._balance.after_update()

    def _update_control(self, momentum: float) -> None:
        if self.control.update != "ema":
            return
        for level, blocks in enumerate(self.decoder):
            agnostic = [block.dale.agnostic for block in self.encoder[level]]
            for block in blocks:
                self.control.move(block.controller.expert, agnostic, momentum)

    def num_parameters(self) -> int:
        """Return the number of parameters, without the structural zeros of experts of unequal rank."""
        padding = sum(m.num_padding for m in self.modules() if isinstance(m, ExpertBank))
        return sum(p.numel() for p in self.parameters()) - padding


def _check(channels: int, heads: tuple[int, ...], experts: ExpertLayout, control: Control, skip_kernel: int) -> None:
    check_heads(heads, channels)
    for level in range(4):
        width, rank = channels * 2**level, experts.rank_at(level)
        if rank > width:
            raise ValueError(
                f"experts.rank: {experts.rank} makes rank {rank} at level {level}, above its {width} channels"
            )
    if channels % 2:
        raise ValueError(f"model.channels: must be even, got {channels}")
    if skip_kernel % 2 == 0:
        raise ValueError(f"model.skip_kernel: must be odd, got {skip_kernel}")
    if control.update in ("ema", "tied") and not experts.agnostic:
        raise ValueError(
            f"control.update: {control.update} follows the agnostic experts, but experts.agnostic is false"
        )
