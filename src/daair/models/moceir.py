"""MoCE-IR: a U-shaped transformer whose decoder sends each image to one of several experts of unequal cost.

"Complexity Experts are Task-Discriminative Learners for Any Image Restoration", Zamfir, Wu, Mehta, Tan, Paudel, Zhang,
Timofte, CVPR 2025, arXiv 2411.18466; the successor of DaAIR by its authors. Written from the paper; nothing is copied
from the authors' repository. Its outputs were checked against those of their code
(tests/models/test_moceir.py). Two things differ in evaluation. Their code adds noise to the router's logits; and if the
images of a batch choose different experts, it averages the outputs of all these experts for each image (`batch_mean`),
so that a result depends on the other images. Neither is in the paper; the second has no effect on single images.

Shape legend: B images, C channels of level 0, H x W pixels, N experts, L decoder blocks, R channels within an expert.
Level l has C * 2^l channels at 1 / 2^l of the resolution.

    x -> 3x3 -> encoder 0 -> 1 -> 2 -> 3 (bottleneck) -> decoder 2 -> 1 -> 0 -> refinement -> 3x3 -> + x
                                           |-> frequency embedding -> routers of the decoder
"""

from collections.abc import Mapping
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Len
from torch import Tensor, nn

from daair.models.balance import Balance, Scope, dense_shares
from daair.models.layers import (
    RESTORMER_NORMS,
    Attention,
    FeedForward,
    SelfAttention,
    TransformerBlock,
    check_heads,
    conv1x1_depthwise,
    downsample,
    pad_to_multiple,
    upsample,
)
from daair.models.precision import full_precision
from daair.models.published import BLOCK, Rules, rename
from daair.models.router import Routing, noise_like
from daair.models.training import Learned

Positive = Annotated[int, Ge(1)]
CONTEXT_KERNEL = 7  # side of the depth-wise convolutions of keys and values in the decoder

RULES: Rules = (
    (r"patch_embed\.proj", "embed"),
    (r"output", "out"),
    (r"freq_embed\.high_conv\.0\.conv", "frequency.high_pass"),
    (r"freq_embed\.mlp", "frequency.mlp"),
    (r"enc\.(\d)\.0\.layers", r"encoder.\1"),
    (r"enc\.(\d)\.1\.body", r"down.\1"),
    (r"latent\.layers", "encoder.3"),
    *((rf"dec\.{2 - level}\.0\.body", f"up.{level}") for level in range(3)),
    *((rf"dec\.{2 - level}\.1", f"skip.{level}") for level in range(3)),
    *((rf"dec\.{2 - level}\.2\.layers", f"decoder.{level}") for level in range(3)),
    (r"refinement\.layers", "refinement"),
    (r"adapter\.experts\.(\d+)\.0\.proj\.0", r"mixture.experts.\1.reduce"),
    (r"adapter\.experts\.(\d+)\.0\.proj\.1", r"mixture.experts.\1.gate"),
    (r"adapter\.experts\.(\d+)\.0\.proj\.2", r"mixture.experts.\1.expand"),
    (r"adapter\.experts\.(\d+)\.0\.body\.proj_out", r"mixture.experts.\1.attention.project"),
    (r"adapter\.experts\.(\d+)\.0\.body", r"mixture.experts.\1.attention"),
    (r"adapter\.proj_out", "mixture.project"),
    (r"adapter\.routing\.gate\.2", "mixture.router.image"),
    (r"adapter\.routing\.freq_gate", "mixture.router.frequency"),
    (r"adapter\.routing", "mixture.router"),
    (r"norms\.0\.body", "norm1"),
    (r"norms\.1\.body", "norm2"),
    (r"proj\.0", "to_shared"),
    (r"proj\.1", "to_mixture"),
    (r"mixer", "attn"),
    (r"shared\.qkv", "shared.query_key_value.0"),
    (r"shared\.qkv_dwconv", "shared.query_key_value.1"),
    (r"shared\.project_out", "shared.project"),
    *BLOCK,
    (r"attn\.project_out", "attention.project"),
    (r"attn", "attention"),
    (r"attention\.q", "attention.query.0"),
    (r"attention\.q_dwconv", "attention.query.1"),
    (r"attention\.kv", "attention.key_value.0"),
    (r"attention\.kv_dwconv", "attention.key_value.1"),
)


class WindowedSpectrum(nn.Module):
    """Attention without a softmax: queries and keys are convolved with each other within windows, by their spectra.

    Args:
        channels: R.
        window: Side of a window in pixels; feature maps are padded with zeros to multiples of it.
    """

    def __init__(self, channels: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.query = conv1x1_depthwise(channels, channels, biases=(False, True))
        self.key_value = conv1x1_depthwise(channels, 2 * channels, CONTEXT_KERNEL, biases=(False, True))
        self.norm = RESTORMER_NORMS["biased"](channels)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, R, H, W) to (B, R, H, W); the spectra are float32."""
        H, W = x.shape[-2:]
        query, (key, value) = self.query(x), self.key_value(x).chunk(2, dim=1)
        with full_precision(x):
            spectra = [torch.fft.rfft2(self._split(t.float())) for t in (query, key)]
            mixed = torch.fft.irfft2(spectra[0] * spectra[1], s=(self.window, self.window))
        B, R, rows, columns = mixed.shape[:4]
        mixed = mixed.transpose(3, 4).reshape(B, R, rows * self.window, columns * self.window)[..., :H, :W]
        return self.project(self.norm(mixed.to(value.dtype)) * value)

    def _split(self, x: Tensor) -> Tensor:
        """Cut (B, R, H, W) into windows (B, R, rows, columns, window, window)."""
        B, R, H, W = x.shape
        x = F.pad(x, (0, -W % self.window, 0, -H % self.window))
        shape = (x.shape[2] // self.window, self.window, x.shape[3] // self.window, self.window)
        return x.reshape(B, R, *shape).transpose(3, 4)


class ComplexityExpert(nn.Module):
    """x + expand( attention(reduce(x)) * SiLU(gate(shared)) ): more channels and larger windows cost more.

    Args:
        channels: C of the level.
        rank: R.
        window: Side of the attention's windows in pixels.
    """

    def __init__(self, channels: int, rank: int, window: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, rank, 1, bias=False)
        self.attention = WindowedSpectrum(rank, window)
        self.gate = nn.Conv2d(channels, rank, 1, bias=False)
        self.expand = nn.Conv2d(rank, channels, 1, bias=False)

    def forward(self, x: Tensor, shared: Tensor) -> Tensor:
        """Map features and the shared expert's output, both (B, C, H, W), to (B, C, H, W)."""
        return x + self.expand(self.attention(self.reduce(x)) * F.silu(self.gate(shared)))


class ComplexityRouter(nn.Module):
    """Noisy top-1 router of images by their pooled features and the frequency embedding; it prefers cheap experts.

    Args:
        channels: C of the level.
        frequencies: Channels of the frequency embedding.
        costs: Parameters of each expert; the buffer `complexity` holds them divided by the largest.
        noise: Standard deviation of the noise on the logits in training, in units of 1/N.
    """

    def __init__(self, channels: int, frequencies: int, costs: list[int], noise: float) -> None:
        super().__init__()
        self.image = nn.Linear(channels, len(costs), bias=False)
        self.frequency = nn.Linear(frequencies, len(costs), bias=False)
        self.register_buffer("complexity", torch.tensor([cost / max(costs) for cost in costs]))
        self.noise = noise / len(costs)

    def forward(self, x: Tensor, frequency: Tensor) -> Routing:
        """Route by features (B, C, H, W) and the frequency embedding (B, F); `aux` is the shares (2, N)."""
        with full_precision(x):
            pooled = x.float().mean(dim=(2, 3))
            logits = F.linear(pooled, self.image.weight.float())
            logits = logits + F.linear(frequency.float(), self.frequency.weight.float())
            noisy = logits + self.noise * noise_like(logits) if self.training else logits
            gate, index = noisy.softmax(dim=1).max(dim=1, keepdim=True)
            aux = self._shares(logits, noisy) if self.training else logits.new_zeros(2, logits.shape[1])
        return Routing(index.squeeze(1), torch.zeros_like(logits).scatter(1, index, gate), aux)

    def _shares(self, logits: Tensor, noisy: Tensor) -> Tensor:
        """Return the shares to balance, (2, N): the importance is biased by the complexity, the load is not."""
        complexity = self.complexity.float()
        return dense_shares(logits, noisy, self.noise) * torch.stack([complexity, torch.ones_like(complexity)])


class Mixture(nn.Module):
    """The complexity experts of one decoder block; expert i has R = C / 2^(N-1-i) and windows of 2^i times the least.

    Args:
        channels: C of the level.
        frequencies: Channels of the frequency embedding.
        count: N.
        window: Side of the first expert's windows in pixels.
        batch_mean: Whether to evaluate batches as the authors' code does.
        noise: See `ComplexityRouter`.
    """

    def __init__(
        self, channels: int, frequencies: int, count: int, window: int, batch_mean: bool, noise: float
    ) -> None:
        super().__init__()
        self.batch_mean = batch_mean
        self.experts = nn.ModuleList(
            ComplexityExpert(channels, channels // 2 ** (count - 1 - i), window * 2**i) for i in range(count)
        )
        costs = [sum(p.numel() for p in expert.parameters()) for expert in self.experts]
        self.router = ComplexityRouter(channels, frequencies, costs, noise)
        self.project = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor, shared: Tensor, frequency: Tensor) -> tuple[Tensor, Routing]:
        """Map features, shared expert's output (B, C, H, W) and frequency embedding to features and routing."""
        routing = self.router(x, frequency)
        gate = routing.gates.sum(dim=1)[:, None, None, None].to(x.dtype)
        return self.project(self._dispatch(x, shared, routing.index) * gate), routing

    def _dispatch(self, x: Tensor, shared: Tensor, index: Tensor) -> Tensor:
        """Send image b through expert `index[b]`; experts only process their own images, so cheap experts save time.

        The number of images of an expert is only known at run time, so a compiled graph breaks here and nowhere else.
        """
        counts = index.bincount(minlength=len(self.experts)).tolist()
        if self.batch_mean and not self.training:
            shares = [(expert, count / len(x)) for expert, count in zip(self.experts, counts, strict=True) if count]
            return torch.stack([share * expert(x, shared) for expert, share in shares]).sum(dim=0)
        order = index.argsort(stable=True)
        parts = list(zip(self.experts, x[order].split(counts), shared[order].split(counts), strict=True))
        out = torch.cat([expert(own, guide) for expert, own, guide in parts if len(own)])[order.argsort()]
        if torch.is_grad_enabled():  # distributed training waits for every parameter's gradient
            idle = [p.sum() for expert, own, _ in parts if not len(own) for p in expert.parameters()]
            out = out + 0 * sum(idle) if idle else out
        return out


class DecoderBlock(nn.Module):
    """A decoder block: cross-attention merges the shared expert and the mixture of the normalised features.

    y = Norm(x);  s = Shared(y);  x = x + CrossAttention(Mixture(y, s), s);  x = x + FFN(Norm(x)).
    """

    def __init__(self, channels: int, heads: int, expansion: float, mixture: Mixture) -> None:
        super().__init__()
        norm = RESTORMER_NORMS["biased"]
        self.norm1, self.norm2 = norm(channels), norm(channels)
        self.to_shared, self.to_mixture = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 1)
        self.shared = SelfAttention(channels, heads)
        self.mixture = mixture
        self.attention = Attention(channels, heads, context_kernel=CONTEXT_KERNEL)
        self.ffn = FeedForward(channels, expansion)

    def forward(self, x: Tensor, frequency: Tensor) -> tuple[Tensor, Routing]:
        """Map (B, C, H, W) and the frequency embedding to (B, C, H, W) and the routing."""
        y = self.norm1(x)
        shared = self.shared(self.to_shared(y))
        mixed, routing = self.mixture(self.to_mixture(y), shared, frequency)
        x = x + self.attention(mixed, shared)
        return x + self.ffn(self.norm2(x)), routing


class FrequencyEmbedding(nn.Module):
    """The routers' view of the degradation: the pooled high frequencies of the bottleneck, through two layers.

    Args:
        channels: F, the channels of the bottleneck.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.high_pass = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.high_pass.requires_grad_(False)
        nn.init.constant_(self.high_pass.weight, -1.0)
        nn.init.constant_(self.high_pass.weight[:, :, 1, 1], 8.0)
        self.mlp = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, F, H, W) to (B, F)."""
        return self.mlp(F.gelu(self.high_pass(x)).mean(dim=(2, 3)))


class MoCEIR(nn.Module):
    """The MoCE-IR network, for images of any size (padded by reflection to a multiple of 8, then cropped back).

    Args:
        channels: C; 48 for MoCE-IR, 32 for MoCE-IR-S.
        encoder_blocks: Blocks of the four encoder levels; the fourth is the bottleneck.
        decoder_blocks: Blocks of the three decoder levels, full resolution first.
        refinement_blocks: Blocks after the decoder, at full resolution.
        heads: Attention heads of the four levels; each divides its level's channels.
        expansion: Hidden channels of the feed-forward as a multiple of its channels.
        expert_count: N.
        window: Side of the first expert's windows in pixels; those of each further expert are twice as large.
        noise: Standard deviation of the Gaussian noise on the logits in training, in units of 1/N.
        importance: Weight of the importance, biased towards cheap experts, within the balance loss.
        load: The same for the expected part of the images that each expert gets.
        scope: Which images are balanced together, see `daair.models.balance.Balance`; the authors' code: `local`.
        batch_mean: In evaluation, send each image through all experts that its batch chose and take the mean, weighted
            by how many images chose each, as the authors' code does (checked for two images). To reproduce theirs.

    Raises:
        ValueError: The sizes do not fit together; the message begins with the config key.
    """

    def __init__(
        self,
        channels: Annotated[int, Ge(2)] = 48,
        encoder_blocks: Annotated[tuple[Positive, ...], Len(4, 4)] = (4, 6, 6, 8),
        decoder_blocks: Annotated[tuple[Positive, ...], Len(3, 3)] = (2, 4, 4),
        refinement_blocks: Annotated[int, Ge(0)] = 4,
        heads: Annotated[tuple[Positive, ...], Len(4, 4)] = (1, 2, 4, 8),
        expansion: Annotated[float, Gt(0)] = 2.0,
        expert_count: Annotated[int, Ge(2)] = 4,
        window: Annotated[int, Ge(1)] = 4,
        noise: Annotated[float, Gt(0)] = 1.0,
        importance: Annotated[float, Ge(0)] = 0.5,
        load: Annotated[float, Ge(0)] = 0.5,
        scope: Scope = "global",
        batch_mean: bool = False,
    ) -> None:
        super().__init__()
        check_heads(heads, channels)
        share = 2 ** (expert_count - 1)
        if channels % share or channels == share:  # the norm of a single channel is a constant
            raise ValueError(
                f"model.channels: must be a multiple of {share} and above it with {expert_count} experts "
                f"(model.expert_count), got {channels}"
            )
        widths = [channels * 2**level for level in range(4)]

        def block(level: int) -> TransformerBlock:
            return TransformerBlock(widths[level], heads[level], expansion, bias=True)

        def decoder(level: int) -> DecoderBlock:
            mixture = Mixture(widths[level], widths[3], expert_count, window, batch_mean, noise)
            return DecoderBlock(widths[level], heads[level], expansion, mixture)

        def stage(make, level: int, depth: int) -> nn.ModuleList:
            return nn.ModuleList(make(level) for _ in range(depth))

        self.embed = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        self.encoder = nn.ModuleList(stage(block, level, depth) for level, depth in enumerate(encoder_blocks))
        self.frequency = FrequencyEmbedding(widths[3])
        self.down = nn.ModuleList(downsample(width, "shuffle") for width in widths[:3])
        self.up = nn.ModuleList(upsample(width, "shuffle") for width in widths[1:])
        self.skip = nn.ModuleList(nn.Conv2d(2 * width, width, 1, bias=False) for width in widths[:3])
        self.decoder = nn.ModuleList(stage(decoder, level, depth) for level, depth in enumerate(decoder_blocks))
        self.refinement = nn.Sequential(*stage(block, 0, refinement_blocks))
        self.out = nn.Conv2d(channels, 3, 3, padding=1, bias=False)
        self.balance = Balance(importance, load, "mean", scope)

    multiple = 8
    terms = ("router",)
    """The loss term beside that of the image: the mean balance loss of the decoder's blocks."""

    def forward(self, x: Tensor) -> Tensor:
        """Restore `x` (B, 3, H, W), values in [0, 1]; the result has its shape and dtype and is not clamped."""
        return self.routed(x).image

    def routed(self, x: Tensor, labels: Tensor | None = None) -> Learned:
        """Restore as `forward` does; also return the gates (L, B, N) of the decoder's blocks, the deepest first.

        Args:
            x: Degraded images.
            labels: Unused.
        """
        H, W = x.shape[-2:]
        feature, routings = self._features(pad_to_multiple(x, self.multiple))
        image = x + self.out(feature)[..., :H, :W].to(x.dtype)
        aux = self.balance(torch.stack([routing.aux for routing in routings]))
        return Learned(image, {"router": aux}, torch.stack([routing.gates for routing in routings]))

    def after_update(self) -> None:
        """Reset the balance of the experts for the next update."""
        self.balance.after_update()

    def _features(self, x: Tensor) -> tuple[Tensor, list[Routing]]:
        """Map padded images (B, 3, H, W) to features (B, C, H, W) and the routing of each decoder block."""
        skips, feature = [], self.embed(x)
        for level, blocks in enumerate(self.encoder):
            for block in blocks:
                feature = block(feature)
            if level < 3:
                skips.append(feature)
                feature = self.down[level](feature)
        routings, frequency = [], self.frequency(feature)
        for level in (2, 1, 0):
            feature = self.skip[level](torch.cat([self.up[level](feature), skips[level]], dim=1))
            for block in self.decoder[level]:
                feature, routing = block(feature, frequency)
                routings.append(routing)
        return self.refinement(feature), routings

    @staticmethod
    def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the authors' state dict with the names used here; one that has these names is returned unchanged."""
        return rename(state, RULES)
