"""PromptIR: Restormer with a decoder that mixes learned prompts, weighted by the features, into the features.

"PromptIR: Prompting for All-in-One Blind Image Restoration", Potlapalli, Zamir, Khan, Khan, NeurIPS 2023, arXiv
2306.13090. Written from the paper; nothing is copied from the authors' repository. Its outputs were checked
against those of their code (tests/models/test_promptir.py), in the variant with `decoder=True`, the only one that they
trained; without prompts the network is Restormer.

Shape legend: B images, C channels of level 0, H x W pixels, N prompts of P channels and S x S pixels.

    Restormer, with a prompt block before each upsampling of the decoder
"""

from collections.abc import Mapping
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Len
from torch import Tensor, nn

from daair.models.layers import RestormerNorm, TransformerBlock
from daair.models.published import BACKBONE, rename
from daair.models.restormer import Positive, Restormer

RULES = (
    *((rf"prompt{level + 1}\.prompt_param", f"prompt.{level}.components") for level in range(3)),
    *((rf"prompt{level + 1}\.linear_layer", f"prompt.{level}.weigh") for level in range(3)),
    *((rf"prompt{level + 1}\.conv3x3", f"prompt.{level}.smooth") for level in range(3)),
    *((rf"noise_level{level + 1}", f"interact.{level}") for level in range(3)),
    *((rf"reduce_noise_level{level + 1}", f"reduce.{level}") for level in range(3)),
    *((rf"chnl_reduce{level + 1}", f"dormant.prompt.{level}") for level in range(3)),
    *((rf"reduce_noise_channel_{level + 1}", f"dormant.skip.{level}") for level in range(3)),
    *BACKBONE,
)


class Prompt(nn.Module):
    """Prompt generation: N learned prompts, weighted by the pooled features, resized to the features and smoothed.

    Args:
        channels: Channels of the features that determine the weights.
        count: N.
        prompt_channels: P.
        size: S.
    """

    def __init__(self, channels: int, count: int, prompt_channels: int, size: int) -> None:
        super().__init__()
        self.components = nn.Parameter(torch.rand(1, count, prompt_channels, size, size))
        self.weigh = nn.Linear(channels, count)
        self.smooth = nn.Conv2d(prompt_channels, prompt_channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (B, channels, H, W) to the prompt (B, P, H, W)."""
        weights = self.weigh(x.mean(dim=(2, 3))).softmax(dim=1)
        mixed = torch.einsum("bn,npst->bpst", weights, self.components[0].to(weights.dtype))
        return self.smooth(F.interpolate(mixed, x.shape[-2:], mode="bilinear"))


class PromptIR(Restormer):
    """The PromptIR network, for images of any size.

    Args:
        channels, encoder_blocks, decoder_blocks, refinement_blocks, heads, expansion, norm: As in `Restormer`. The
            prompt blocks have as many attention heads as level 2.
        prompt_count: N.
        prompt_channels: P of the three decoder levels, full resolution first.
        prompt_sizes: S of the three decoder levels; half, a quarter and an eighth of the training crop's side.
        dormant: Keep six published convolutions that no forward pass uses, so that parameters can be counted and
            loaded as published. They are frozen, because distributed training would wait for their gradients.

    Raises:
        ValueError: The sizes do not fit together; the message begins with the config key.
    """

    def __init__(
        self,
        channels: Annotated[int, Ge(2)] = 48,
        encoder_blocks: Annotated[tuple[Positive, ...], Len(4, 4)] = (4, 6, 6, 8),
        decoder_blocks: Annotated[tuple[Positive, ...], Len(3, 3)] = (4, 6, 6),
        refinement_blocks: Annotated[int, Ge(0)] = 4,
        heads: Annotated[tuple[Positive, ...], Len(4, 4)] = (1, 2, 4, 8),
        expansion: Annotated[float, Gt(0)] = 2.66,
        norm: RestormerNorm = "biased",
        prompt_count: Annotated[int, Ge(1)] = 5,
        prompt_channels: Annotated[tuple[Positive, ...], Len(3, 3)] = (64, 128, 320),
        prompt_sizes: Annotated[tuple[Positive, ...], Len(3, 3)] = (64, 32, 16),
        dormant: bool = True,
    ) -> None:
        super().__init__(channels, encoder_blocks, decoder_blocks, refinement_blocks, heads, expansion, norm)
        widths = [channels * 2**level for level in range(4)]
        joined = [width + added for width, added in zip(widths[1:], prompt_channels, strict=True)]
        for level, width in enumerate(joined):
            if width % heads[2]:
                raise ValueError(
                    f"model.prompt_channels: {heads[2]} heads (model.heads of level 2) do not divide the {width} "
                    f"channels of features and prompt at level {level}"
                )
        self.prompt = nn.ModuleList(
            Prompt(width, prompt_count, added, size)
            for width, added, size in zip(widths[1:], prompt_channels, prompt_sizes, strict=True)
        )
        self.interact = nn.ModuleList(TransformerBlock(width, heads[2], expansion, norm) for width in joined)
        self.reduce = nn.ModuleList(
            nn.Conv2d(width, kept, 1, bias=False) for width, kept in zip(joined, self._arriving(widths), strict=True)
        )
        self.dormant = _dormant(widths, prompt_channels) if dormant else None

    def _arriving(self, widths: list[int]) -> list[int]:
        """Return the widths, with the bottleneck reduced to level 2's channels before it is upsampled."""
        return [widths[1], widths[2], widths[2]]

    def _between(self, level: int, feature: Tensor, image: Tensor) -> Tensor:
        """Apply the prompt interaction: concatenate the prompt, mix both in one block, reduce the channels."""
        joined = torch.cat([feature, self.prompt[level](feature)], dim=1)
        return self.reduce[level](self.interact[level](joined))

    @staticmethod
    def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the authors' state dict with the names used here; one that has these names is returned unchanged."""
        return rename(state, RULES)


def _dormant(widths: list[int], prompts: tuple[int, ...]) -> nn.ModuleDict:
    """Return the convolutions that reduced prompts, and skips with prompts, in an earlier design of the authors."""
    reduced = (prompts[0], prompts[1], prompts[2] * 4 // 5)
    parts = {
        "prompt": nn.ModuleList(nn.Conv2d(p, r, 1, bias=False) for p, r in zip(prompts, reduced, strict=True)),
        "skip": nn.ModuleList(nn.Conv2d(w + r, w, 1, bias=False) for w, r in zip(widths[:3], reduced, strict=True)),
    }
    return nn.ModuleDict(parts).requires_grad_(False)
