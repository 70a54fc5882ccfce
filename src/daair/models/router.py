"""Routers, which choose the specialised experts for each image.

Shape legend: B images, C channels of the level, N experts, H x W pixels of the image, h x w of the level.

A router of your own is a class that takes `channels=C` and `count=N`; it is called as `router(features, image, labels)`
with

- `features` (B, C, h, w), the learner's input: the feature map after the norm. The norm removes brightness and noise
  level: the mean is about 0 for a dark and for a bright image alike.
- `image` (B, 3, H, W), the network's input, values in [0, 1], for a router that uses the image itself.
- `labels` (B,) int64, the true degradations, in training; None after it, unless the class has `needs_labels = True`.

It returns a `Routing`. A class that takes the labels for the numbers of its experts says so by `one_expert_per_label =
True`, and then a config with fewer experts than degradations is refused. The routers here use the image-level feature,
the mean of `features` over the pixels. They run in float32 under any autocast precision, because a rounded logit may
change the choice of an expert.
A router may have a member `balance`, a module that maps the stacked `aux` (L, ...) of all learners to L_aux; without it
L_aux is their mean. Its `after_update`, if there is one, is called after each update.
Provenance: noisy top-1 follows Shazeer et al., "Outrageously Large Neural Networks" (ICLR 2017, arXiv 1701.06538,
equation 4), as MoCE-IR uses it [S]; that one expert processes the whole image is drawn [F].
"""

from typing import Annotated, NamedTuple

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from daair.models.balance import Balance, Kind, Reduce, Scope, dense_shares, hard_shares
from daair.models.precision import full_precision
from daair.models.processes import own_part


class Routing(NamedTuple):
    """The decision of a router for B images.

    Attributes:
        index: (B,) int64, the expert of each image; None if every expert is used.
        gates: (B, N) float32, the weight of each expert's output; rows sum to at most 1.
        aux: Float32 of the same shape for all learners: the scalar L_aux to be minimised, or the input of the router's
            `balance`; 0 outside training.
        kept: (B,) float32 in [0, 1], the part of the network's change of each image that is kept (`model=daair_naf`);
            None = all of it.
    """

    index: Tensor | None
    gates: Tensor
    aux: Tensor
    kept: Tensor | None = None


class Top1(nn.Module):
    """Noisy top-1 router with importance and load losses (see `daair.models.balance`); the default.

    Args:
        channels: C.
        count: N.
        noise: Standard deviation of the Gaussian noise on the logits in training, in units of 1/N [S].
        weight_by_gate: Multiply the expert's output by its softmax weight, so that the image loss trains the router
            [S]; with false only L_aux does.
        importance: Weight of the squared coefficient of variation of the mean gates, within L_aux [S].
        load: The same for the expected part of the images that each expert gets [S].
        balance: The gates to balance: dense, clean ones, with the expert's own draw in the threshold (`dense`, [S]),
            or those of the chosen experts, without it (`hard`, Shazeer et al.).
        reduce: L_aux of the network is the `mean` [S] or the `sum` over its learners.
        scope: Balance the images of an update over all processes together (`global`), or those of each process and
            micro-batch for themselves (`local`, [S]).
    """

    def __init__(
        self,
        channels: int,
        count: int,
        noise: Annotated[float, Gt(0)] = 1.0,
        weight_by_gate: bool = True,
        importance: Annotated[float, Ge(0)] = 0.5,
        load: Annotated[float, Ge(0)] = 0.5,
        balance: Kind = "dense",
        reduce: Reduce = "mean",
        scope: Scope = "global",
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, count)
        self.noise = noise / count
        self.weight_by_gate = weight_by_gate
        self.shares = hard_shares if balance == "hard" and count > 1 else dense_shares
        self.balance = Balance(importance, load, reduce, scope)

    def forward(self, features: Tensor, image: Tensor | None = None, labels: Tensor | None = None) -> Routing:
        """Route by the mean of `features` (B, C, h, w); `aux` is the learner's shares (2, N)."""
        logits = _logits(self.linear, features)
        noisy = logits + self.noise * noise_like(logits) if self.training else logits
        gate, index = noisy.softmax(dim=1).max(dim=1, keepdim=True)
        aux = self.shares(logits, noisy, self.noise) if self.training else logits.new_zeros(2, logits.shape[1])
        weight = gate if self.weight_by_gate else torch.ones_like(gate)
        return Routing(index.squeeze(1), torch.zeros_like(logits).scatter(1, index, weight), aux)


class Soft(nn.Module):
    """All experts, weighted by the softmax of the logits; they cost N times as much as one expert.

    Args:
        channels: C.
        count: N.
        temperature: Divisor of the logits; a lower one is closer to a hard choice.
    """

    def __init__(self, channels: int, count: int, temperature: Annotated[float, Gt(0)] = 1.0) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, count)
        self.temperature = temperature

    def forward(self, features: Tensor, image: Tensor | None = None, labels: Tensor | None = None) -> Routing:
        """Route by the mean of `features` (B, C, h, w); `image` and `labels` are unused."""
        gates = (_logits(self.linear, features) / self.temperature).softmax(dim=1)
        return Routing(None, gates, gates.new_zeros(()))


class Uniform(nn.Module):
    """No choice: all experts with weight 1/N, the method without its router."""

    def __init__(self, channels: int, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, features: Tensor, image: Tensor | None = None, labels: Tensor | None = None) -> Routing:
        """Return equal gates for the images of `features` (B, C, h, w)."""
        gates = features.new_full((features.shape[0], self.count), 1 / self.count, dtype=torch.float32)
        return Routing(None, gates, gates.new_zeros(()))


class Oracle(nn.Module):
    """The true degradation label as the expert: an upper bound, because the label is unknown in practice."""

    needs_labels = True
    one_expert_per_label = True

    def __init__(self, channels: int, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, features: Tensor, image: Tensor | None = None, labels: Tensor | None = None) -> Routing:
        """Route by `labels`, (B,) int64 in [0, N).

        Raises:
            ValueError: There are no labels.
        """
        if labels is None:
            raise ValueError("router=oracle needs the degradation label of each image")
        gates = torch.zeros(features.shape[0], self.count, device=features.device).scatter(1, labels[:, None], 1.0)
        return Routing(labels, gates, gates.new_zeros(()))


def _logits(linear: nn.Linear, features: Tensor) -> Tensor:
    """Apply global average pooling and a linear layer in float32: (B, C, h, w) -> (B, N)."""
    with full_precision(features):
        return nn.functional.linear(features.float().mean(dim=(2, 3)), linear.weight.float(), linear.bias.float())


def noise_like(logits: Tensor) -> Tensor:
    """Return standard normal noise for `logits` (B, N), independent of the distribution of images over processes."""
    return own_part(len(logits), lambda images: torch.randn_like(logits.new_empty(images, logits.shape[1])))
