"""DaAIR on the body of NAFNet: experts that are merged into the convolutions before an image is seen.

Our own variant, not a published network. From DaAIR (arXiv 2405.15475) it has the agnostic weights that all images
share, low-rank experts that specialise, and a router that gives each image one expert; the body is that of NAFNet (Chen
et al., ECCV 2022), whose 1x1 convolutions are the agnostic expert. Expert n changes the weight W of a convolution by a
product of two small matrices, as low-rank adaptation does (Hu et al., ICLR 2022):

    W_n = W + U_n V_n   (fusion: sum)        W_n = W * (1 + U_n V_n), element-wise   (fusion: product)

One decision holds for the whole network, so the weights of an image's expert are made once and cost no pass over its
pixels: the rank, the number of experts and their parameters do not change what a pixel costs.

Two parts of DaAIR's figure are options (experiments/components_naf measures them). `fusion: outputs` multiplies what
the two experts make of the pixels, W x * (1 + U_n V_n x), which cannot be merged. With a `control` the channels of a
decoder block are weighed by what a control expert sees, which follows the agnostic expert of the encoder.

As a comparison, `fusion: film` has no expert, but tells the body which degradation it is: expert n only scales and
shifts each output channel of a convolution (Perez et al., "FiLM", AAAI 2018).

Shape legend: B images, C channels of level 0, N experts, R rank, H x W pixels of the image, h x w of a level. Level l
has C * 2^l channels at 1 / 2^l of the resolution. Feature maps are channels last, (B, h, w, C).

    x -> 3x3 -> encoder 0 -> 1 -> ... -> middle -> ... -> decoder 1 -> 0 -> 3x3 -> + x
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Literal

import torch
from annotated_types import Ge, MinLen
from torch import Tensor, nn

from daair.models.dale import Control
from daair.models.image_router import ImageRouter
from daair.models.layers import Window, level_widths, local_means, pad_to_multiple
from daair.models.router import Routing
from daair.models.training import Learned, Stage

Positive = Annotated[int, Ge(1)]
Count = Annotated[int, Ge(0)]
Fusion = Literal["sum", "product", "outputs", "film"]
Where = Literal["all", "spatial", "channel", "encoder", "decoder"]


@dataclass(frozen=True)
class MergedExperts:
    """How many experts there are, of which rank, and how they change the weights (config group `experts`).

    Args:
        count: N; 0 leaves the body alone.
        rank: R at the first level; above the channels of a level it is cut to them. `film` does not use it.
        layout: `constant`: `rank` everywhere; `pyramid`: it doubles with each level, as the channels do.
        fusion: whether an expert is added to the agnostic weight, multiplies it, multiplies its outputs by outputs of
            its own, or only scales and shifts its outputs.
        where: the 1x1 convolutions that have experts: `all`; those of a block's `spatial` or `channel` part; those of
            the `encoder` with the middle, or of the `decoder`.
    """

    count: Count = 5
    rank: Positive = 4
    layout: Literal["constant", "pyramid"] = "pyramid"
    fusion: Fusion = "sum"
    where: Where = "all"

    def within(self, *places: Where) -> "MergedExperts":
        """Return the experts of a convolution that belongs to `places`: these, or none."""
        return self if self.where in ("all", *places) else replace(self, count=0)

    def rank_at(self, level: int) -> int:
        """Return R at `level`; 0 is full resolution."""
        return self.rank if self.layout == "constant" else self.rank * 2**level


class MergedLinear(nn.Module):
    """A 1x1 convolution with the agnostic weight and that of the image's expert, merged.

    Args:
        inputs: channels of the input, I.
        outputs: channels of the output, O.
        experts: number, rank and fusion of the experts.
        level: of the features; decides the rank.
    """

    def __init__(self, inputs: int, outputs: int, experts: MergedExperts, level: int) -> None:
        super().__init__()
        self.agnostic = nn.Linear(inputs, outputs)
        self.fusion, rank = experts.fusion, min(experts.rank_at(level), inputs, outputs)
        self.down = self.up = None  # `up` begins at zero, so that a new network is its body
        if experts.count and self.fusion == "film":
            self.up = nn.Parameter(torch.zeros(experts.count, outputs, 2))
        elif experts.count:
            self.up = nn.Parameter(torch.zeros(experts.count, outputs, rank))
            self.down = nn.Parameter(torch.randn(experts.count, rank, inputs) / inputs**0.5)

    def forward(self, x: Tensor, routing: Routing | None) -> Tensor:
        """(B, h, w, I) -> (B, h, w, O)."""
        if routing is None or self.up is None:
            return self.agnostic(x)
        B, h, w, _ = x.shape
        if self.fusion == "outputs":
            y = self.agnostic(x)
            own = torch.bmm(x.reshape(B, h * w, -1), self.change(routing).transpose(1, 2)).view(B, h, w, -1)
            return torch.addcmul(y, y, own)
        weight, bias = self.merged(routing)
        return torch.baddbmm(bias, x.reshape(B, h * w, -1), weight.transpose(1, 2)).view(B, h, w, -1)

    def merged(self, routing: Routing) -> tuple[Tensor, Tensor]:
        """Return each image's weight (B, O, I), the agnostic one changed by its experts, and bias (1 or B, 1, O)."""
        weight, bias = self.agnostic.weight, self.agnostic.bias[None, None]
        change = self.change(routing)
        if self.fusion == "film":
            scale, shift = change.unbind(2)  # (B, O)
            return weight * (1 + scale)[:, :, None], bias * (1 + scale)[:, None] + shift[:, None]
        return (weight + change if self.fusion == "sum" else torch.addcmul(weight, weight, change)), bias

    def change(self, routing: Routing) -> Tensor:
        """Return the change by each image's experts, weighted by their gates: (B, O, I), or (B, O, 2) of `film`."""
        if self.fusion == "film":
            return torch.einsum("bn,nok->bok", routing.gates, self.up)
        if routing.index is None:
            return torch.einsum("bn,nor,nri->boi", routing.gates, self.up, self.down)
        gate = routing.gates.gather(1, routing.index[:, None])[:, :, None]
        return (gate * self.up[routing.index]) @ self.down[routing.index]


class Block(nn.Module):
    """NAFNet's block: x + beta * spatial part, then + gamma * channel part; both begin at zero.

    Both parts expand to 2C channels, of which the simple gate leaves C. The four 1x1 convolutions have experts.

    Args:
        channels: C.
        experts: number, ranks, fusion and place of the experts.
        level: of the features.
        side: of the network, where the block is.
        window: see `DaAIRNAF`.
        controlled: whether it has a control expert of its own.
    """

    def __init__(
        self,
        channels: int,
        experts: MergedExperts,
        level: int,
        side: Literal["encoder", "decoder"],
        window: int | None = None,
        controlled: bool = False,
    ) -> None:
        super().__init__()
        self.window = None if window is None else max(1, window // 2**level)

        def point(outputs: int, part: Where) -> MergedLinear:
            return MergedLinear(channels, outputs, experts.within(side, part), level)

        self.norm1, self.norm2 = nn.LayerNorm(channels, eps=1e-6), nn.LayerNorm(channels, eps=1e-6)
        self.expand, self.spatial = point(2 * channels, "spatial"), point(channels, "spatial")
        self.widen, self.channel = point(2 * channels, "channel"), point(channels, "channel")
        self.control = nn.Linear(channels, 2 * channels) if controlled else None
        self.depthwise = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.attention = nn.Linear(channels, channels)  # of channels, on their means
        self.beta, self.gamma = nn.Parameter(torch.zeros(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, routing: Routing | None, tied: nn.Linear | None = None) -> Tensor:
        """(B, h, w, C) -> (B, h, w, C); `tied` is the control expert under `control.update=tied`."""
        embedded = self.norm1(x)
        y = gate(convolve(self.depthwise, self.expand(embedded, routing)))
        control = self.control if tied is None else tied
        context = y if control is None else gate(control(embedded))
        y = y * self.attention(local_means(context, None if self.training else self.window, (1, 2)))
        x = torch.addcmul(x, self.beta, self.spatial(y, routing))
        return torch.addcmul(x, self.gamma, self.channel(gate(self.widen(self.norm2(x), routing)), routing))


class DaAIRNAF(nn.Module):
    """The whole network; every image size works (padded to a multiple of 2^levels, then cropped back).

    Args:
        channels: C.
        encoder_blocks: blocks of each encoder level, full resolution first; their number is that of the levels.
        middle_blocks: blocks at the lowest resolution.
        decoder_blocks: blocks of each decoder level, full resolution first.
        experts: number and ranks of the experts.
        router: factory of the one router, called with `channels` and `count`; it sees the features of the first
            convolution and the image. One with a `pretraining` stage, such as `image`, learns apart, before the rest.
        control: the decoder's control expert [C]: a 1x1 convolution and its gate, as the first of a block, whose means
            weigh the block's channels in place of the block's own.
        window: side of the windows, in pixels of the image, whose means weigh the channels after training; None = means
            over the whole image. See `daair.models.layers.local_means`.

    Raises:
        ValueError: unequal numbers of encoder and decoder levels, or a control that nothing feeds; the text begins with
            the config key.
    """

    def __init__(
        self,
        channels: Positive = 32,
        encoder_blocks: Annotated[tuple[Count, ...], MinLen(1)] = (1, 1, 1, 28),
        middle_blocks: Count = 1,
        decoder_blocks: Annotated[tuple[Count, ...], MinLen(1)] = (1, 1, 1, 1),
        experts: MergedExperts = MergedExperts(),  # noqa: B008 - frozen
        router: Callable[..., nn.Module] = ImageRouter,
        control: Control = Control("none"),  # noqa: B008 - frozen
        window: Window = None,
    ) -> None:
        super().__init__()
        widths = level_widths(channels, encoder_blocks, decoder_blocks)
        _check(control, encoder_blocks, decoder_blocks)
        self.multiple, self.control = 2 ** len(encoder_blocks), control

        def blocks(level: int, depth: int, side: Literal["encoder", "decoder"] = "encoder") -> nn.ModuleList:
            controlled = side == "decoder" and control.update in ("ema", "gradient")
            make = partial(Block, widths[level], experts, level, side, window, controlled)
            return nn.ModuleList(make() for _ in range(depth))

        self.router = router(channels=channels, count=experts.count) if experts.count else None
        self.embed = nn.Conv2d(3, channels, 3, padding=1)
        self.encoder = nn.ModuleList(blocks(level, depth) for level, depth in enumerate(encoder_blocks))
        self.down = nn.ModuleList(nn.Conv2d(width, 2 * width, 2, stride=2) for width in widths[:-1])
        self.middle = blocks(len(encoder_blocks), middle_blocks)
        self.up = nn.ModuleList(nn.Linear(width, 2 * width, bias=False) for width in widths[1:])
        self.decoder = nn.ModuleList(blocks(level, depth, "decoder") for level, depth in enumerate(decoder_blocks))
        self.out = nn.Conv2d(channels, 3, 3, padding=1)
        if control.update == "ema":
            for block in (block for blocks in self.decoder for block in blocks):
                block.control.requires_grad_(False)
        self._update_control(momentum=0.0)

    @property
    def terms(self) -> tuple[str, ...]:
        """The loss terms beside that of the image: `label` or `router`, if there is a router."""
        return () if self.router is None else ("label" if self._pretraining else "router",)

    @property
    def needs_labels(self) -> bool:
        """Whether `forward` must be told the degradation labels."""
        return getattr(self.router, "needs_labels", False)

    @property
    def _pretraining(self) -> Stage | None:
        return getattr(self.router, "pretraining", None)

    def stages(self) -> Sequence[Stage]:
        """Return the stage of a router that learns apart, and that of everything else."""
        first = self._pretraining
        if first is None:
            return [Stage()]
        first = replace(first, least=max(2, first.least))  # the router's norm looks at the whole batch
        parts = {name.partition(".")[0]: None for name, _ in self.named_parameters()}  # `middle` may be empty
        rest = tuple(f"{name}.*" for name in parts if name != "router")
        return [first, Stage("restoration", 1 - first.share, rest)]

    def learn(self, batch: Mapping[str, Tensor], stage: Stage) -> Learned:
        """Return the router's loss in its own stage; the restored images in the other."""
        first = self._pretraining
        if first is not None and stage.name == first.name:
            return Learned(None, {"label": self.router.loss(batch["input"], batch["label"], batch["target"])})
        return self.routed(batch["input"], batch["label"])

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Restore `x` (B, 3, H, W), values in [0, 1]; the result has its shape and dtype and is not clamped.

        Args:
            x: degraded images.
            labels: (B,) int64 degradations; needed by `router=oracle` alone.
        """
        return self.routed(x, labels).image

    def routed(self, x: Tensor, labels: Tensor | None = None) -> Learned:
        """Restore as `forward` does; also return the gates (1, B, N) and, if it learns with the rest, L_aux."""
        H, W = x.shape[-2:]
        padded = pad_to_multiple(x, self.multiple).contiguous(memory_format=torch.channels_last)
        feature = self.embed(padded)
        routing = None if self.router is None else self.router(feature, x, labels)
        feature, skips = feature.permute(0, 2, 3, 1), []
        for blocks, down in zip(self.encoder, self.down, strict=True):
            for block in blocks:
                feature = block(feature, routing)
            skips.append(feature)
            feature = convolve(down, feature)
        for block in self.middle:
            feature = block(feature, routing)
        for blocks, up, skip, before in reversed(list(zip(self.decoder, self.up, skips, self.encoder, strict=True))):
            feature = double(up(feature)) + skip
            tied = before[-1].expand.agnostic if self.control.update == "tied" and len(before) else None
            for block in blocks:
                feature = block(feature, routing, tied)
        change = self.out(feature.permute(0, 3, 1, 2))[..., :H, :W].to(x.dtype)
        if routing is None:
            return Learned(x + change)
        image = x + (change if routing.kept is None else change * routing.kept.to(x.dtype)[:, None, None, None])
        terms = {} if self._pretraining else {"router": self._balanced(routing.aux[None])}
        return Learned(image, terms, routing.gates[None])

    def _balanced(self, aux: Tensor) -> Tensor:
        """Return L_aux of the one learner, see `daair.models.router`."""
        balance = getattr(self.router, "balance", None)
        return aux.mean() if balance is None else balance(aux)

    def _update_control(self, momentum: float) -> None:
        if self.control.update != "ema":
            return
        for blocks, before in zip(self.decoder, self.encoder, strict=True):
            agnostic = [block.expand.agnostic for block in before]
            for block in blocks:
                self.control.move(block.control, agnostic, momentum)

    def after_update(self) -> None:
        """Make the parameter update of the control experts, and begin a new balance of the experts."""
        self._update_control(self.control.momentum)
        if hasattr(balance := getattr(self.router, "balance", None), "after_update"):
            balance.after_update()


def _check(control: Control, encoder_blocks: Sequence[int], decoder_blocks: Sequence[int]) -> None:
    if control.query != "dale":
        raise ValueError("control.query: must be dale with model=daair_naf, whose decoder has no cross-attention")
    if control.update in ("ema", "tied"):
        for level, (encoder, decoder) in enumerate(zip(encoder_blocks, decoder_blocks, strict=True)):
            if decoder and not encoder:
                text = f"follows the encoder, but model.encoder_blocks has no block at level {level}"
                raise ValueError(f"control.update: {control.update} {text}")


def gate(x: Tensor) -> Tensor:
    """Multiply the first half of the channels by the second, (B, h, w, 2C) -> (B, h, w, C): the simple gate."""
    first, second = x.chunk(2, dim=-1)
    return first * second


def convolve(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a convolution to a feature map (B, h, w, C) with the channels last."""
    return layer(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def double(x: Tensor) -> Tensor:
    """Rearrange (B, h, w, 4C) to (B, 2h, 2w, C): the pixel shuffle, for channels that are last."""
    B, h, w, C = x.shape
    return x.view(B, h, w, C // 4, 2, 2).permute(0, 1, 4, 2, 5, 3).reshape(B, 2 * h, 2 * w, C // 4)
