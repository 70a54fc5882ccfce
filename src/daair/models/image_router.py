"""A router that looks at the image itself and is taught the degradations' labels before the rest of the network.

Our own design. The features behind a norm hide brightness and noise level; fixed statistics of the image show them:
means and spreads of the channels, the dark channel (haze; He et al., CVPR 2009), and on two scales the energies of a
Laplacian and of the gradients (noise, blur) and the skewness of vertical differences (rain). A few convolutions see
what the statistics miss.

Shape legend: B images, N degradations (one expert each), H x W pixels, F statistics.
"""

from functools import partial
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Interval
from torch import Tensor, nn

from daair.models.layers import pad_to_multiple
from daair.models.precision import full_precision
from daair.models.processes import gathered, own_part
from daair.models.router import Routing
from daair.models.training import Stage

SCALES = 2
STATISTICS = 8 + SCALES * 11


class ImageRouter(nn.Module):
    """Softmax over the degradations, decided by the votes of the image's tiles (option `image` of the group `router`).

    In training the true label is the decision, and the router is not asked. With `teacher_forcing` below 1 it decides
    for a part of the crops, which changed little where it was measured (experiments/components_naf). In use each tile
    gives log-probabilities; their mean, sharpened, is the image's decision. A crop may be ambiguous where the image is
    not, and a whole image differs from the crops that were learnt from.

    A mix shows some degradations more often than others, and a classifier that has seen a degradation seldom doubts it.
    So a part of the logarithms of the shares that were seen is subtracted from the logits ("Long-tail learning via
    logit adjustment", Menon et al., ICLR 2021, arXiv 2007.07314, equation 9). With the whole of them, the others pay:
    real rain, which differs from the rain of the training, is taken for haze (experiments/peers_equal_time).

    With `clean_every` there is one more class, the clean image, and its probability is the part of the network's change
    that is held back (`1 - Routing.kept`). A degradation that training did not show often looks more like a clean image
    than like any of the trained ones, and a network without this class does harm to it (experiments/longer).

    Args:
        channels: not used; the router sees no features.
        count: N.
        width: channels of the first convolutions.
        hidden: width of the layer before the logits.
        tile: side of the tiles that vote, in pixels; best that of the training crops.
        sharpness: factor on the mean log-probability before the softmax.
        teacher_forcing: share of the training crops whose expert is that of the true label; those of the others are
            weighed as in use.
        adjustment: how much of the logarithmic shares is subtracted in use; 0 expects the shares of the training.
        clean_every: for one of so many crops the router also sees the clean crop; 0 = no class of clean images.
        pretraining: the stage that trains the router alone.
    """

    one_expert_per_label = True
    least_side = 8  # in pixels, of an image whose statistics exist on both scales

    def __init__(
        self,
        channels: int,
        count: int,
        width: Annotated[int, Ge(1)] = 16,
        hidden: Annotated[int, Ge(1)] = 48,
        tile: Annotated[int, Ge(8)] = 64,
        sharpness: Annotated[float, Gt(0)] = 10.0,
        teacher_forcing: Annotated[float, Interval(ge=0, le=1)] = 1.0,
        adjustment: Annotated[float, Ge(0)] = 0.25,
        clean_every: Annotated[int, Ge(0)] = 16,
        pretraining: Stage = Stage("router", 0.2, ("router.*",), 5.0, 32),  # noqa: B008 - frozen
    ) -> None:
        super().__init__()
        self.count, self.tile, self.sharpness, self.pretraining = count, tile, sharpness, pretraining
        self.adjustment, self.clean_every, self.teacher_forcing = adjustment, clean_every, teacher_forcing
        classes = count + bool(clean_every)  # the last one is that of clean images
        self.register_buffer("seen", torch.zeros(classes))  # images of each class that it learned from
        laplacian = torch.tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 6  # unit response to unit noise
        self.register_buffer("laplacian", laplacian.expand(3, 1, 3, 3).clone(), persistent=False)
        self.conv1 = nn.Conv2d(3, width, 5, stride=2, padding=2)
        self.conv2 = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm1d(STATISTICS + 6 * width, momentum=0.05)  # statistics differ in scale by far
        self.decide = nn.Sequential(nn.Linear(STATISTICS + 6 * width, hidden), nn.ReLU(), nn.Linear(hidden, classes))

    def forward(self, features: Tensor, image: Tensor, labels: Tensor | None = None) -> Routing:
        """Route by the labels (B,) in training, else by `image` (B, 3, H, W), values in [0, 1]; see `Routing`."""
        aux = image.new_zeros((), dtype=torch.float32)
        if self.training and labels is not None:
            told = one_hot(labels, self.count).float()
            if self.teacher_forcing == 1:
                return Routing(labels, told, aux)
            with torch.no_grad():
                own = self.vote(image)[:, : self.count].softmax(1)
            forced = own_part(len(labels), lambda images: torch.rand(images, device=image.device))
            return Routing(None, torch.where((forced < self.teacher_forcing)[:, None], told, own), aux)
        votes = self.vote(image)
        kept = 1 - votes.softmax(1)[:, self.count] if self.clean_every else None
        return Routing(None, votes[:, : self.count].softmax(1), aux, kept)

    def loss(self, image: Tensor, labels: Tensor, clean: Tensor) -> Tensor:
        """Return the cross-entropy for crops as wholes, and count the classes.

        Args:
            image: (B, 3, H, W), degraded crops.
            labels: (B,), their degradations.
            clean: (B, 3, H, W), the clean crops.
        """
        weight = image.new_ones(len(self.seen), dtype=torch.float32)  # of an image of each class
        if self.clean_every:
            clean = clean[:: self.clean_every]
            # A small part of a batch has one clean crop more often than one in so many: that one then counts less.
            weight[self.count] = len(labels) / (self.clean_every * len(clean))
            image, labels = torch.cat([image, clean]), torch.cat([labels, labels.new_full(clean.shape[:1], self.count)])
        if self.training:
            self.seen += weight * one_hot(gathered(labels), len(self.seen)).sum(dim=0)
        return F.cross_entropy(self.logits(image), labels, weight)

    def vote(self, image: Tensor) -> Tensor:
        """Return the logits (B, N) or (B, N + 1) that the tiles of `image` (B, 3, H, W) agree on."""
        if min(image.shape[-2:]) < self.least_side:
            image = pad_to_multiple(image, self.least_side)
        shares = (self.seen + 1) / (self.seen + 1).sum()
        logits = self.logits(cut(image, self.tile), learning=False) - self.adjustment * shares.log()
        votes = logits.log_softmax(1).unflatten(0, (image.shape[0], -1))
        return self.sharpness * votes.mean(1)

    def logits(self, image: Tensor, learning: bool = True) -> Tensor:
        """Return the logits of `image` (B, 3, H, W) as a whole, in float32 whatever the autocast precision.

        Args:
            image: Images.
            learning: Whether the norm takes the batch's statistics in training; else it takes those that it has kept.
        """
        with full_precision(image):
            image = image.float()
            y = F.relu(self.conv2(F.relu(self.conv1(4 * (image - image.mean((2, 3), keepdim=True))))))
            z = F.relu(self.conv3(y))
            seen = [z.mean((2, 3)), z.amax((2, 3)), y.mean((2, 3)), y.std((2, 3))]
            features, norm = torch.cat([self.statistics(image), *seen], dim=1), self.norm
            if self.training and not learning:
                kept = norm.running_mean, norm.running_var
                return self.decide(F.batch_norm(features, *kept, norm.weight, norm.bias, eps=norm.eps))
            return self.decide(norm(features))

    @torch.no_grad()
    def statistics(self, image: Tensor) -> Tensor:
        """Return the fixed statistics (B, F) of `image` (B, 3, H, W)."""
        image = image.clamp(0, 1)
        low, high = image.amin(1), image.amax(1)
        found = [image.mean((2, 3)), image.std((2, 3)), _mean(low), _mean(high - low)]
        for _ in range(SCALES):
            edges = F.conv2d(image, self.laplacian, groups=3)
            found += [_log(edges.abs().mean((2, 3)), 1), _log(edges.square().mean((2, 3)), 2)]
            found += [_log(_mean(image.diff(dim=axis).abs().mean(1)), 1) for axis in (3, 2)]
            vertical = image.mean(1).diff(dim=1)
            found.append(_log(_mean(vertical.square()), 2))
            found += [_log(_mean((sign * vertical).clamp_min(0) ** 3), 3) for sign in (1, -1)]
            image = F.avg_pool2d(image, 2)
        return torch.cat(found, dim=1)


def cut(image: Tensor, tile: int) -> Tensor:
    """Cut images (B, C, H, W) into tiles (B * tiles, C, h, w); what is left over at the right and bottom is left out.

    Places are computed, since an exported graph for images of any size cannot decide whether views are possible.

    Args:
        image: Images.
        tile: h and w; where a side of the images is shorter, that side.
    """
    B, C, H, W = image.shape
    height, width = torch.sym_min(tile, H), torch.sym_min(tile, W)
    places = partial(torch.arange, device=image.device)
    y = height * places(H // height)[:, None, None, None, None] + places(height)[:, None]
    x = width * places(W // width)[:, None, None, None] + places(width)
    return image[places(B)[:, None, None, None, None, None], places(C)[:, None, None], y, x].flatten(0, 2)


def one_hot(labels: Tensor, count: int) -> Tensor:
    """Return (B, count) booleans for labels (B,); unlike torch's function and `bincount`, it does not read them."""
    return labels[:, None] == torch.arange(count, device=labels.device)


def _mean(x: Tensor) -> Tensor:
    """(B, h, w) -> (B, 1)."""
    return x.flatten(1).mean(1, keepdim=True)


def _log(moment: Tensor, order: int) -> Tensor:
    """Return the logarithm of a moment's root, as a size in units of the image range; at least that of 1e-4."""
    return moment.clamp_min(10.0 ** (-4 * order)).log() / order
