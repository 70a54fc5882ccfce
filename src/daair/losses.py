"""Training losses: image terms that are weighted and summed, every weight a config key.

Shape legend: B images, H x W pixels; images are (B, 3, H, W), nominally in [0, 1].
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

Weight = Annotated[float, Ge(0)]


class RestorationLoss(nn.Module):
    """Weighted sum of image losses (config group `loss`); a term of weight 0 is not computed.

    Args:
        l1: weight of the mean absolute error.
        l2: weight of the mean squared error.
        charbonnier: weight of mean sqrt(e^2 + eps^2) (Lai et al., CVPR 2017).
        fft: weight of the L1 distance between the unscaled 2-D Fourier transforms, mean over real and imaginary parts;
            grows with the side of the crop (MIMO-UNet, Cho et al., ICCV 2021; weight 0.1 there and in MoCE-IR).
        ssim: weight of 1 - SSIM, Gaussian 11 x 11 window, not downsampled (piq).
        router: weight of the routers' L_aux, added by the training loop [S: 0.01].
        charbonnier_eps: eps of `charbonnier`, in units of the image range.

    Raises:
        ValueError: no image term has a weight.
    """

    def __init__(
        self,
        l1: Weight = 0.0,
        l2: Weight = 0.0,
        charbonnier: Weight = 0.0,
        fft: Weight = 0.0,
        ssim: Weight = 0.0,
        router: Weight = 0.01,
        charbonnier_eps: Annotated[float, Gt(0)] = 1e-3,
    ) -> None:
        super().__init__()
        self.weights = {"l1": l1, "l2": l2, "charbonnier": charbonnier, "fft": fft, "ssim": ssim}
        self.router, self.charbonnier_eps = router, charbonnier_eps
        if not any(self.weights.values()):
            raise ValueError(f"loss: every image term has weight 0; give one of {', '.join(self.weights)} a weight")

    def forward(self, restored: Tensor, target: Tensor, aux: Tensor | float = 0.0) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss to minimise, and its unweighted parts by name.

        Args:
            restored, target: (B, 3, H, W).
            aux: scalar L_aux of the routers.
        """
        # Differences of small numbers, and FFT, which bf16 does not have: float32 throughout.
        with torch.autocast(restored.device.type, enabled=False):
            restored, target = restored.float(), target.float()
            parts = {name: getattr(self, f"_{name}")(restored, target) for name, w in self.weights.items() if w}
        total = sum(self.weights[name] * part for name, part in parts.items())
        return total + self.router * aux, parts

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
        from piq import ssim  # imports torchvision; only for those who use it

        # piq refuses values outside [0, 1], which an unclamped network does produce.
        return 1 - ssim(restored.clamp(0, 1), target, data_range=1.0, downsample=False)
