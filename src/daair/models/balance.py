"""The balance loss L_aux, which keeps routers from sending all images to one expert.

Shape legend: B images, L learners, N experts. The shares of a learner, (2, N), are the demand for each expert:
row 0 is the importance, the mean gate; row 1 is the load, the mean probability to be chosen.

    L_aux = mean or sum over the learners of  a * CV^2(importance) + b * CV^2(load)

with CV^2 the squared coefficient of variation over the experts, of the unbiased variance (a population variance would
give (N - 1) / N of it). Two readings of the shares are here: `dense_shares`, MoCE-IR's (Zamfir et al., CVPR 2025, their
`RoutingFunction`), and `hard_shares` (Shazeer et al., "Outrageously Large Neural Networks", ICLR 2017, equations 6 to
11, arXiv 1701.06538).
"""

from typing import Literal

import torch
from torch import Tensor, nn

from daair.models.processes import mean_of_all, with_value

Kind = Literal["dense", "hard"]
Reduce = Literal["mean", "sum"]
Scope = Literal["global", "local"]


class Balance(nn.Module):
    """L_aux of all learners of a network; without parameters, and 0 outside training.

    With `scope=global` the shares are those of all images of an update, wherever they are: of all processes, by one
    all-reduce for all learners, and of the micro-batches of the update so far. What is exact:

    - Over processes, both the loss and, since gradients are averaged over them, its gradient.
    - Over micro-batches (`train.accumulation`), the loss of the last one. The gradient of micro-batch k is taken at the
      mean of the micro-batches 1 to k instead of at that of all: the later ones are not known yet, and keeping the
      graphs of the earlier ones would cost the memory that accumulation saves. It is exact for the last one.

    With `scope=local` each process balances the images of each of its micro-batches alone, as the successor's code does
    (8 images on each of 4 GPUs); the loss then depends on how many processes share a batch.

    Args:
        importance: a.
        load: b.
        reduce: Reduction over the learners; the successor takes the mean [S].
        scope: Which images are balanced together.
    """

    def __init__(
        self, importance: float = 0.5, load: float = 0.5, reduce: Reduce = "mean", scope: Scope = "global"
    ) -> None:
        super().__init__()
        self.weights, self.reduce, self.scope = (importance, load), reduce, scope
        self.earlier: Tensor | None = None  # (L, 2, N): the sum of this update's micro-batches so far
        self.count = 0  # of these micro-batches

    def forward(self, shares: Tensor) -> Tensor:
        """Return L_aux of the shares (L, 2, N) of one micro-batch; a scalar."""
        if not self.training:
            return shares.new_zeros(())
        if shares.shape[-1] == 1:
            return 0 * shares.sum()  # not a constant: distributed training waits for every parameter's gradient
        if self.scope == "global":
            shares = self._over_the_update(mean_of_all(shares))
        importance, load = squared_variation(shares).unbind(dim=-1)  # (L,) each
        each = self.weights[0] * importance + self.weights[1] * load
        return each.mean() if self.reduce == "mean" else each.sum()

    def after_update(self) -> None:
        """Begin a new update: forget the micro-batches of the last one."""
        self.earlier, self.count = None, 0

    def _over_the_update(self, shares: Tensor) -> Tensor:
        now = shares.detach()
        self.earlier = now if self.earlier is None else self.earlier + now
        self.count += 1
        return shares if self.count == 1 else with_value(shares, self.earlier / self.count)


def dense_shares(logits: Tensor, noisy: Tensor, noise: float) -> Tensor:
    """Return the shares (2, N) of a noisy top-1 router as MoCE-IR takes them.

    Importance: the softmax of the clean logits. Load: the probability that the clean logit plus fresh noise exceeds the
    image's largest noisy logit, its own included.

    Args:
        logits: (B, N), clean.
        noisy: (B, N), with the noise that the choice was made with.
        noise: Standard deviation of that noise.
    """
    chance = torch.special.ndtr((logits - noisy.amax(dim=1, keepdim=True)) / noise)
    return torch.stack([logits.softmax(dim=1).mean(dim=0), chance.mean(dim=0)])


def hard_shares(logits: Tensor, noisy: Tensor, noise: float) -> Tensor:
    """Return the shares (2, N) of Shazeer et al.; the arguments are those of `dense_shares`, with N > 1.

    Importance: the noisy gate of the chosen expert, 0 of the others. Load: the probability that the expert is chosen
    if only its own noise is drawn anew, so that its own former draw is not in the threshold (equation 9).
    """
    gates = noisy.softmax(dim=1)
    chosen = torch.zeros_like(gates).scatter(1, noisy.argmax(dim=1, keepdim=True), 1.0)
    best_two = noisy.topk(2, dim=1).values
    threshold = torch.where(chosen > 0, best_two[:, 1:], best_two[:, :1])
    chance = torch.special.ndtr((logits - threshold) / noise)
    return torch.stack([(chosen * gates).mean(dim=0), chance.mean(dim=0)])


def squared_variation(x: Tensor) -> Tensor:
    """Return the squared coefficient of variation over the last dimension of `x`: 0 where all are equal."""
    return x.var(dim=-1) / (x.mean(dim=-1) + 1e-8).square()
