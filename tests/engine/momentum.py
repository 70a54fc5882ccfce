"""A network as other people write them, for the tests of training: it uses everything that a network may bring to it.

A contrastive encoder (with batch norm) that a momentum copy and a queue of keys follow, trained alone at first with
batches of its own size, then together with a restorer, as in AirNet. Copied to where a test starts `run.py`.
"""

import copy
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from daair.models.processes import gathered
from daair.models.training import Learned, Stage


class Momentum(nn.Module):
    """The network.

    Args:
        warmup: the stage that trains the encoder alone.
        keys: length of the queue.
        norm: whether there is a batch norm.
    """

    views = 2
    terms = ("contrast",)

    def __init__(self, warmup: Stage, keys: int = 16, norm: bool = True) -> None:
        super().__init__()
        self.warmup = warmup
        between = nn.BatchNorm2d(4) if norm else nn.Identity()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), between, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.follower = copy.deepcopy(self.encoder).requires_grad_(False)
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 3, 3, padding=1))
        self.register_buffer("queue", F.normalize(torch.randn(keys, 4), dim=1))
        self.fresh: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        """Restore `x` (B, 3, H, W)."""
        return x + self.body(x) * self.encoder(x).mean(dim=1)[:, None, None, None]

    def stages(self) -> Sequence[Stage]:
        """Return the encoder's stage and that of the whole network."""
        return self.warmup, Stage("restoration", share=1 - self.warmup.share)

    def learn(self, batch: Mapping[str, Tensor], stage: Stage) -> Learned:
        """Return the contrast between the two views, and after the first stage the restored images."""
        query = F.normalize(self.encoder(batch["input"]), dim=1)
        with torch.no_grad():
            key = F.normalize(self.follower(batch["input2"]), dim=1)
        logits = torch.cat([(query * key).sum(dim=1, keepdim=True), query @ self.queue.T], dim=1)
        contrast = F.cross_entropy(logits / 0.07, torch.zeros(len(logits), dtype=torch.long))
        self.fresh.append(key)
        image = None if stage.name == self.warmup.name else self(batch["input"])
        return Learned(image, {"contrast": contrast})

    @torch.no_grad()
    def after_update(self) -> None:
        """Move the follower and put the keys of all processes into the queue."""
        for own, other in zip(self.follower.parameters(), self.encoder.parameters(), strict=True):
            own.lerp_(other, 0.1)
        keys = gathered(torch.cat(self.fresh))
        self.queue.copy_(torch.cat([keys, self.queue])[: len(self.queue)])
        self.fresh.clear()
