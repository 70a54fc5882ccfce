"""Routers: which specialised expert sees which image.

Shape legend: B images, C channels of the level, N experts, H x W pixels of the image, h x w of the level.

A router of your own is a class that takes `channels=C` and `count=N`; it is called as `router(features, image, labels)`
with

- `features` (B, C, h, w), what its learner sees: the feature map behind the norm. The norm takes brightness and noise
  level away from it: its mean is about 0 for a dark and for a bright image alike.
- `image` (B, 3, H, W), the network's input, values in [0, 1], for a router that looks at the image itself.
- `labels` (B,) int64, the true degradations, in training; None in use, unless the class says `needs_labels = True`.

It returns a `Routing`. The routers here look at the image-level feature, the mean of `features` over the pixels. All of
it runs in float32 whatever the autocast precision: a rounded logit may flip the choice of an expert.
A router may have a member `balance`, a module that is given the `aux` of all learners, stacked (L, ...), and returns
L_aux; without it L_aux is their mean. Its `after_update`, if there is one, is called after each update.
Provenance: noisy top-1 follows Shazeer et al., "Outrageously Large Neural Networks" (ICLR 2017, arXiv 1701.06538,
equation 4), as MoCE-IR uses it [S]; that one expert sees the whole image is drawn [F].
"""

from typing import Annotated, NamedTuple

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from daair.models.balance import Balance, Kind, Reduce, Scope, dense_shares, hard_shares
from daair.models.processes import own_part


class Routing(NamedTuple):
    """What a router decided for B images.

    Attributes:
        index: (B,) int64, the one expert of each image; None when every expert is asked.
        gates: (B, N) float32, the weight of each expert's output; rows sum to at most 1.
        aux: float32, of this learner and the same shape in all: L_aux, a scalar to be minimised, or what the router's
            `balance` makes it of; 0 outside training.
    """

    index: Tensor | None
    gates: Tensor
    aux: Tensor


class Top1(nn.Module):
    """Noisy top-1 router with importance and load losses (see `daair.models.balance`); the default.

    Args:
        channels: C.
        count: N.
        noise: standard deviation of the Gaussian noise on the logits in training, in units of 1/N [S].
        weight_by_gate: multiply the expert's output by its softmax weight, so that the image loss trains the router
            [S]; with false only L_aux does.
        importance: weight of the squared coefficient of variation of the mean gates, within L_aux [S].
        load: the same for the expected part of the images that each expert gets [S].
        balance: what is balanced: the dense, clean gates, with the expert's own draw in the threshold (`dense`, [S]),
            or the gates of the chosen experts, without it (`hard`, Shazeer et al.).
        reduce: L_aux of the network is the `mean` [S] or the `sum` over its learners.
        scope: balance the images of an update over all processes together (`global`), or those of each process and
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
    """Every expert, weighted by the softmax of the logits; costs N times as much as one expert.

    Args:
        channels: C.
        count: N.
        temperature: divides the logits; lower is closer to a hard choice.
    """

    def __init__(self, channels: int, count: int, temperature: Annotated[float, Gt(0)] = 1.0) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, count)
        self.temperature = temperature

    def forward(self, features: Tensor, image: Tensor | None = None, labels: Tensor | None = None) -> Routing:
        """Route by the mean of `features` (B, C, h, w); `image` and `labels` are not looked at."""
        gates = (_logits(self.linear, features) / self.temperature).softmax(dim=1)
        return Routing(None, gates, gates.new_zeros(()))


class Uniform(nn.Module):
    """No choice at all: every expert with weight 1/N. What remains of the method when the router is taken away."""

    def __init__(self, channels: int, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, features: Tensor, image: Tensor | None = None, labels: Tensor | None = None) -> Routing:
        """Return equal gates for the images of `features` (B, C, h, w)."""
        gates = features.new_full((features.shape[0], self.count), 1 / self.count, dtype=torch.float32)
        return Routing(None, gates, gates.new_zeros(()))


class Oracle(nn.Module):
    """The true degradation label is the expert: an upper bound, since no one tells the label in earnest."""

    needs_labels = True

    def __init__(self, channels: int, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, features: Tensor, image: Tensor | None = None, labels: Tensor | None = None) -> Routing:
        """Route by `labels`, (B,) int64 in [0, N).

        Raises:
            ValueError: there are no labels.
        """
        if labels is None:
            raise ValueError("router=oracle needs the degradation label of each image")
        gates = torch.zeros(features.shape[0], self.count, device=features.device).scatter(1, labels[:, None], 1.0)
        return Routing(labels, gates, gates.new_zeros(()))


def _logits(linear: nn.Linear, features: Tensor) -> Tensor:
    """Apply global average pooling and a linear layer in float32: (B, C, h, w) -> (B, N)."""
    with torch.autocast(features.device.type, enabled=False):
        return nn.functional.linear(features.float().mean(dim=(2, 3)), linear.weight.float(), linear.bias.float())


def noise_like(logits: Tensor) -> Tensor:
    """Return standard normal noise for `logits` (B, N) that does not depend on which process has which image."""
    return own_part(len(logits), lambda images: torch.randn_like(logits.new_empty(images, logits.shape[1])))
