"""AirNet: a contrastive degradation encoder that guides the restoration by deformable convolutions.

"All-in-One Image Restoration for Unknown Corruption", Li, Liu, Hu, Wu, Lv, Peng, CVPR 2022 (no arXiv preprint). The
encoder learns as in MoCo ("Momentum Contrast for Unsupervised Visual Representation Learning", He, Fan, Wu, Xie,
Girshick, CVPR 2020, arXiv 1911.05722): two crops of one image are a positive pair, crops of other images the negatives.
The modulated deformable convolution is DCNv2's (Zhu, Hu, Lin, Dai, CVPR 2019, arXiv 1811.11168). Written from the
papers; `from_published` gives weights of the authors' release the names used here.

Shape legend: B images, C channels, D features of an embedding, K keys in the queue, H x W pixels.

    z = Stem(x) (B, C, H, W)        guides the restorer
    x -> 3x3 -> groups of blocks, each guided by z -> 3x3 -> + -> 3x3

Its training has two stages (`stages`): the encoder alone, by contrast; then all of it, by the image loss and the
contrast (`learn`). After each update the queue and the key encoder follow (`after_update`).
"""

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from daair.models.precision import full_precision
from daair.models.processes import gathered
from daair.models.training import Learned, Stage

Positive = Annotated[int, Ge(1)]
SLOPE = 0.1  # negative slope of every leaky ReLU


class Encoding(NamedTuple):
    """The encoding of images by the degradation encoder.

    Attributes:
        guide: (B, C, H, W), the features at full resolution that guide the restorer.
        embedding: (B, D) float32 of unit length, the representation that the contrast compares.
    """

    guide: Tensor
    embedding: Tensor


class Contrast(NamedTuple):
    """The contrast of the embeddings of two crops of the same images.

    Attributes:
        logits: (B, 1 + K) float32, cosine similarities divided by the temperature; the first is the positive pair's.
        labels: (B,) int64 zeros, the position of the positive pair.
        loss: Scalar float32, the cross-entropy of the two (InfoNCE).
        keys: (B, D), the embeddings of the keys, to be put into the queue after the update.
    """

    logits: Tensor
    labels: Tensor
    loss: Tensor
    keys: Tensor


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions beside a 1x1 shortcut, (B, C_in, H, W) -> (B, C_out, H / stride, W / stride)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the rectified sum of both paths."""
        return F.leaky_relu(self.body(x) + self.shortcut(x), SLOPE)


class DegradationEncoder(nn.Module):
    """The encoder of one branch: a stem at full resolution, two units that halve it, and a projection to D features."""

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.stem = ResidualUnit(3, channels, 1)
        self.units = nn.Sequential(ResidualUnit(channels, 2 * channels, 2), ResidualUnit(2 * channels, 4 * channels, 2))
        self.project = nn.Sequential(
            nn.Linear(4 * channels, features), nn.LeakyReLU(SLOPE), nn.Linear(features, features)
        )

    def forward(self, x: Tensor) -> Encoding:
        """Encode images (B, 3, H, W)."""
        guide = self.stem(x)
        return Encoding(guide, F.normalize(self.project(self.units(guide).mean((2, 3))).float(), dim=1))


class GuidedConvolution(nn.Module):
    """Modulated deformable 3x3 convolution whose offsets and masks are computed from features and guide together."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        bound = (9 * channels) ** -0.5
        self.weight = nn.Parameter(torch.empty(channels, channels, 3, 3).uniform_(-bound, bound))
        self.sample = nn.Conv2d(2 * channels, 27, 3, padding=1)  # for each of 9 taps two offsets and a mask
        nn.init.zeros_(self.sample.weight)  # at first the taps of a plain convolution, each with the mask 1/2
        nn.init.zeros_(self.sample.bias)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """Map (B, C, H, W) and a guide of the same shape to (B, C, H, W), computed in float32 under any precision."""
        offset, mask = self.sample(torch.cat([x, guide], dim=1)).float().split([18, 9], dim=1)
        with full_precision(x):
            return deformable_conv3x3(x.float(), offset, self.weight.float(), mask.sigmoid()).to(x.dtype)


def deformable_conv3x3(x: Tensor, offset: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
    """Convolve `x` (B, C, H, W) by `weight` (C', C, 3, 3) with nine moved and weighted taps; return (B, C', H, W).

    It computes what `torchvision.ops.deform_conv2d(x, offset, weight, padding=1, mask=mask)` does. Sampling all taps
    by one `grid_sample` trains about four times as fast on CPUs, whose operator in torchvision uses no vectors.

    Args:
        x: Features (B, C, H, W).
        offset: How far each tap moves (B, 18, H, W), in pixels: down and right of the first tap, of the second, ...
        weight: The kernel (C', C, 3, 3).
        mask: Factor of each tap (B, 9, H, W).
    """
    B, C, H, W = x.shape
    down, right = offset.view(B, 9, 2, H, W).unbind(2)
    tap = torch.arange(9, device=x.device).view(9, 1, 1)
    rows = down + (tap // 3 - 1 + torch.arange(H, device=x.device).view(H, 1))  # (B, 9, H, W), in pixels
    columns = right + (tap % 3 - 1 + torch.arange(W, device=x.device))
    grid = torch.stack([(2 * columns + 1) / W - 1, (2 * rows + 1) / H - 1], dim=-1)  # in [-1, 1] within the image
    taps = F.grid_sample(x, grid.view(B, 9 * H, W, 2), align_corners=False).view(B, C, 9, H, W)
    return (weight.flatten(1) @ (taps * mask[:, None]).view(B, 9 * C, H * W)).view(B, -1, H, W)


class SpatialTransform(nn.Module):
    """Scale and shift features by maps that two 1x1 convolutions each compute from the guide."""

    def __init__(self, channels: int) -> None:
        super().__init__()

        def head() -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(channels, channels, 1, bias=False),
                nn.LeakyReLU(SLOPE),
                nn.Conv2d(channels, channels, 1, bias=False),
            )

        self.scale, self.shift = head(), head()

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """Map (B, C, H, W) and a guide of the same shape to (B, C, H, W)."""
        return x * self.scale(guide) + self.shift(guide)


class Guidance(nn.Module):
    """The degradation-guided module: x + deformable convolution + spatial transform."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.deform, self.transform = GuidedConvolution(channels), SpatialTransform(channels)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """Map (B, C, H, W) and a guide of the same shape to (B, C, H, W)."""
        return x + (self.deform(x, guide) + self.transform(x, guide))


class GuidedBlock(nn.Module):
    """Guidance, 3x3 convolution, guidance, 3x3 convolution, around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.guide1, self.guide2 = Guidance(channels), Guidance(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """Map (B, C, H, W) and a guide of the same shape to (B, C, H, W)."""
        y = F.leaky_relu(self.conv1(F.leaky_relu(self.guide1(x, guide), SLOPE)), SLOPE)
        return x + self.conv2(F.leaky_relu(self.guide2(y, guide), SLOPE))


class GuidedGroup(nn.Module):
    """Guided blocks and a 3x3 convolution around a shortcut."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(GuidedBlock(channels) for _ in range(blocks))
        self.out = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """Map (B, C, H, W) and a guide of the same shape to (B, C, H, W)."""
        y = x
        for block in self.blocks:
            y = block(y, guide)
        return x + self.out(y)


class AirNet(nn.Module):
    """The AirNet network, for images of any size, because nothing at full resolution is strided.

    Args:
        channels: C.
        groups: Number of groups of the restorer.
        blocks: Number of guided blocks of each group.
        features: D, the size of an embedding.
        queue: K, the negatives that each embedding is compared with; the paper keeps those of 256 batches.
        temperature: Divisor of the similarities.
        momentum: Fraction of its old parameters that the key encoder keeps at each update.
        warmup: The stage that trains the encoder alone, by contrast; it is left out if its share is 0.
    """

    views = 2
    terms = ("contrast",)

    def __init__(
        self,
        channels: Positive = 64,
        groups: Positive = 5,
        blocks: Positive = 5,
        features: Positive = 256,
        queue: Positive = 2048,
        temperature: Annotated[float, Gt(0)] = 0.07,
        momentum: Annotated[float, Ge(0), Lt(1)] = 0.999,
        warmup: Stage = Stage("encoder", 100 / 1500, ("encoder.*",), 10.0),  # noqa: B008 - frozen
    ) -> None:
        super().__init__()
        self.temperature, self.momentum, self.warmup = temperature, momentum, warmup
        self.fresh: list[Tensor] = []  # keys of the update's micro-batches
        self.encoder = DegradationEncoder(channels, features)
        self.key_encoder = copy.deepcopy(self.encoder).requires_grad_(False)
        self.register_buffer("queue", F.normalize(torch.randn(features, queue), dim=0))
        self.register_buffer("queue_start", torch.zeros(1, dtype=torch.long))  # position of the oldest key
        self.embed = nn.Conv2d(3, channels, 3, padding=1)
        self.groups = nn.ModuleList(GuidedGroup(channels, blocks) for _ in range(groups))
        self.fuse = nn.Conv2d(channels, channels, 3, padding=1)
        self.out = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Restore `x` (B, 3, H, W), values in [0, 1]; the result has its shape and dtype and is not clamped.

        Only the stem of the encoder is used, because the rest does not guide the restorer.
        """
        return self.restore(x, self.encoder.stem(x))

    def stages(self) -> Sequence[Stage]:
        """Return the stage of the encoder alone, and that of the whole network."""
        return self.warmup, Stage("restoration", 1 - self.warmup.share)

    def learn(self, batch: Mapping[str, Tensor], stage: Stage) -> Learned:
        """Return the contrast of a batch's two views and, after the first stage, the restored images."""
        encoding = self.encode(batch["input"])
        contrast = self.contrast(encoding.embedding, batch["input2"])
        self.fresh.append(contrast.keys)
        image = None if stage.name == self.warmup.name else self.restore(batch["input"], encoding.guide)
        return Learned(image, {"contrast": contrast.loss})

    def after_update(self) -> None:
        """Put the keys of an update into the queue and update the key encoder."""
        self.enqueue(torch.cat(self.fresh))
        self.fresh.clear()
        self.update_key_encoder()

    def encode(self, x: Tensor) -> Encoding:
        """Encode the degradations of images (B, 3, H, W), for `restore` and `contrast`."""
        return self.encoder(x)

    def restore(self, x: Tensor, guide: Tensor) -> Tensor:
        """Restore images (B, 3, H, W) with the guide (B, C, H, W) of their encoding."""
        first = self.embed(x)
        feature = first
        for group in self.groups:
            feature = group(feature, guide)
        return self.out(first + self.fuse(feature)).to(x.dtype)

    def contrast(self, embedding: Tensor, key: Tensor) -> Contrast:
        """Compare embeddings with those of other crops of the same images, and with the queue.

        Gradients only reach `embedding`. Only the batch statistics of the key encoder change; `enqueue` and
        `update_key_encoder` must be called separately, once for each update.

        Args:
            embedding: (B, D), from `encode`.
            key: (B, 3, H, W), other crops of the same images with the same degradations.
        """
        with torch.no_grad():
            keys = self.key_encoder(key).embedding
        positive = (embedding * keys).sum(1, keepdim=True)
        logits = torch.cat([positive, embedding @ self.queue.clone()], dim=1).float() / self.temperature
        labels = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
        return Contrast(logits, labels, F.cross_entropy(logits, labels), keys)

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Replace the oldest keys by keys (B, D).

        The keys of all processes are added in the order of their ranks, so that equal queues stay equal; all processes
        must call this with equally many keys.
        """
        keys = gathered(keys)
        size = self.queue.shape[1]
        keys = keys[-size:]
        places = (self.queue_start + torch.arange(len(keys), device=keys.device)) % size
        self.queue[:, places] = keys.T.to(self.queue.dtype)
        self.queue_start.copy_((self.queue_start + len(keys)) % size)

    @torch.no_grad()
    def update_key_encoder(self, momentum: float | None = None) -> None:
        """Move the parameters of the key encoder towards those of the encoder; call this after each optimizer step.

        The result depends only on the parameters, so ranks with equal parameters keep equal parameters.
        """
        momentum = self.momentum if momentum is None else momentum
        for follower, leader in zip(self.key_encoder.parameters(), self.encoder.parameters(), strict=True):
            follower.lerp_(leader, 1 - momentum)

    @staticmethod
    def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the authors' state dict with the names used here; one that has these names is returned unchanged."""
        if not any(name.startswith(("R.", "E.E.")) for name in state):
            return dict(state)
        renamed = {}
        for name, tensor in state.items():
            for pattern, replacement in _PUBLISHED:
                name = re.sub(pattern, replacement, name)
            renamed[name] = tensor
        return renamed


_PUBLISHED = [
    (r"^R\.head\.0\.", "embed."),
    (r"^R\.tail\.0\.", "out."),
    (r"^R\.body\.(\d+)\.body\.(\d+)\.(?=conv|dgm)", r"groups.\1.blocks.\2."),
    (r"^R\.body\.(\d+)\.body\.\d+\.", r"groups.\1.out."),
    (r"^R\.body\.\d+\.", "fuse."),
    (r"\.dgm(\d)\.dcn\.conv_offset_mask\.", r".guide\1.deform.sample."),
    (r"\.dgm(\d)\.dcn\.", r".guide\1.deform."),
    (r"\.dgm(\d)\.sft\.conv_gamma\.", r".guide\1.transform.scale."),
    (r"\.dgm(\d)\.sft\.conv_beta\.", r".guide\1.transform.shift."),
    (r"^E\.E\.encoder_q\.", "encoder."),
    (r"^E\.E\.encoder_k\.", "key_encoder."),
    (r"^E\.E\.queue_ptr$", "queue_start"),
    (r"^E\.E\.queue$", "queue"),
    (r"^((?:key_)?encoder)\.E_pre\.", r"\1.stem."),
    (r"^((?:key_)?encoder)\.E\.", r"\1.units."),
    (r"^((?:key_)?encoder)\.mlp\.", r"\1.project."),
    (r"\.backbone\.", ".body."),
]
