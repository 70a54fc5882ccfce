"""Training losses: weighted sums of image terms; each weight is a config key.

A loss of your own is an `nn.Module` called as `loss(restored, target)`. It returns the loss, or the loss and its
unweighted parts by name, which are logged. Its attributes `terms` and `least_side`, if any, have the meaning of those
of `RestorationLoss`.

Shapes: B images of H x W pixels are tensors (B, 3, H, W), nominally in [0, 1].
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

Weight = Annotated[float, Ge(0)]

WINDOW, SIGMA = 11, 1.5
"""Side of SSIM's window and its Gaussian's standard deviation, in pixels."""

TERMS: Mapping[str, float] = MappingProxyType({"router": 0.01, "contrast": 0.1, "label": 1.0})
"""Default weights of terms that networks add to the image loss: L_aux of routers [S], AirNet's contrastive loss."""


class RestorationLoss(nn.Module):
    """A weighted sum of image losses (config group `loss`); terms of weight 0 are not computed.

    Args:
        l1: Weight of the mean absolute error.
        l2: Weight of the mean squared error.
        charbonnier: Weight of mean sqrt(e^2 + eps^2) (Lai et al., CVPR 2017).
        fft: Weight of the L1 distance between the unscaled 2-D Fourier transforms, mean over real and imaginary parts.
            It grows with the side of the crop (MIMO-UNet, Cho et al., ICCV 2021; weight 0.1 there and in MoCE-IR).
        ssim: Weight of 1 - SSIM, Gaussian 11 x 11 window, not downsampled (piq).
        terms: Weights of the terms that networks add to the image loss, by name (see `daair.models.training`).
        charbonnier_eps: The eps of `charbonnier`, in units of the image range.

    Attributes:
        least_side: Side in pixels of the smallest images that the loss can compare.

    Raises:
        ValueError: All image terms have weight 0.
    """

    def __init__(
        self,
        l1: Weight = 0.0,
        l2: Weight = 0.0,
        charbonnier: Weight = 0.0,
        fft: Weight = 0.0,
        ssim: Weight = 0.0,
        terms: Mapping[str, Weight] = TERMS,
        charbonnier_eps: Annotated[float, Gt(0)] = 1e-3,
    ) -> None:
        super().__init__()
        self.weights = {"l1": l1, "l2": l2, "charbonnier": charbonnier, "fft": fft, "ssim": ssim}
        self.terms, self.charbonnier_eps = dict(terms), charbonnier_eps
        self.least_side = WINDOW if ssim else 1
        if not any(self.weights.values()):
            raise ValueError(f"loss: every image term has weight 0; give one of {', '.join(self.weights)} a weight")

    def forward(self, restored: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of restored images (B, 3, H, W), and its unweighted parts by name."""
        # float32 throughout: bf16 is too coarse for small differences and has no FFT.
        with torch.autocast(restored.device.type, enabled=False):
            restored, target = restored.float(), target.float()
            parts = {name: getattr(self, f"_{name}")(restored, target) for name, w in self.weights.items() if w}
        return sum(self.weights[name] * part for name, part in parts.items()), parts

    def _l1(self, restored: Tensor, target: Tensor) -> Tensor:
        return F.l1_loss(restored, target)

    def _l2(self, restored: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(restored, target)

    def _charbonnier(self, restored: Tensor, target: Tensor) -> Tensor:
        return torch.sqrt((restored - target).square() + self.charbonnier_eps**2).mean()

    def _fft(self, restored: Tensor, target: Tensor) -> Tensor:
        difference = torch.view_as_real(torch.fft.rfft2(restored - target))
        return difference.abs().mean()

    def _ssim(self, restored: Tensor, target: Tensor) -> Tensor:
        from piq.functional import gaussian_filter  # slow to import, since it imports torchvision
        from piq.ssim import _ssim_per_channel

        # `piq.ssim` itself also checks the range of the values. That waits for a GPU in every update, and it fails at
        # a nan before the engine can say that the training diverged.
        window = gaussian_filter(WINDOW, SIGMA, restored.device, restored.dtype).repeat(restored.shape[1], 1, 1, 1)
        # SSIM is defined for values in [0, 1], but the output of the network is not clamped.
        each, _ = _ssim_per_channel(restored.clamp(0, 1), target, window)
        return 1 - each.mean()


def total_loss(
    loss: nn.Module, image: Tensor | None, target: Tensor, terms: Mapping[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the image loss plus the network's weighted terms, and all unweighted parts by name.

    Args:
        image: The restored images (B, 3, H, W); None leaves the image loss out.
        target: The clean images (B, 3, H, W).
        terms: The network's unweighted terms. A term of weight 0 is added as well, so that its parameters have a
            gradient, which distributed training requires.

    Raises:
        ValueError: There are neither images nor terms.
    """
    if image is None and not terms:
        raise ValueError("the network's learn returned neither an image nor a loss term")
    total, parts = 0.0, {}
    if image is not None:
        returned = loss(image, target)
        total, parts = returned if isinstance(returned, tuple) else (returned, {})
    weights = term_weights(loss)
    return sum((weights[name] * term for name, term in terms.items()), total), {**parts, **terms}


def term_weights(loss: nn.Module) -> Mapping[str, float]:
    """Return a loss's weights of the terms that networks add, by default `TERMS`."""
    return getattr(loss, "terms", TERMS)


def check_terms(loss: nn.Module, names: Sequence[str], network: str) -> None:
    """Check that the weights of a loss match the terms of a network.

    A weight of 0 and an unchanged default of `TERMS` are allowed for terms that the network does not have.

    Raises:
        ValueError: A term has no weight, or a weight has no term; the text begins with the config key.
    """
    weights = term_weights(loss)
    has = f"{network} has the terms {', '.join(names)}" if names else f"{network} adds no term to the image loss"
    for name in names:
        if name not in weights:
            raise ValueError(f"loss.terms.{name}: missing; {has}; give it a weight: +loss.terms.{name}=...")
    for name, weight in weights.items():
        if name not in names and weight and weight != TERMS.get(name):
            raise ValueError(f"loss.terms.{name}: unused; {has}")
