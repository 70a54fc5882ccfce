"""Loss terms against their formulas, with golden values."""

import inspect
import math

import pytest
import torch

from daair.losses import RestorationLoss, Weight

RESTORED = torch.linspace(0, 1, 3 * 12 * 12).reshape(1, 3, 12, 12)
TARGET = RESTORED.flip(-1)


def term(name: str, weight: float = 1.0) -> float:
    total, parts = RestorationLoss(**{name: weight})(RESTORED, TARGET)
    assert list(parts) == [name]
    assert total.item() == pytest.approx(weight * parts[name].item())
    return parts[name].item()


def test_terms_follow_their_formulas() -> None:
    error = RESTORED - TARGET
    assert term("l1") == pytest.approx(error.abs().mean().item())
    assert term("l2") == pytest.approx(error.square().mean().item())
    assert term("charbonnier") == pytest.approx(torch.sqrt(error**2 + 1e-6).mean().item())
    spectrum = torch.fft.rfft2(RESTORED) - torch.fft.rfft2(TARGET)
    expected = (spectrum.real.abs().mean() + spectrum.imag.abs().mean()) / 2
    assert term("fft") == pytest.approx(expected.item(), rel=1e-4)


def test_weights_combine_and_the_router_is_added() -> None:
    total, parts = RestorationLoss(l1=1.0, fft=0.1, router=0.5)(RESTORED, TARGET, torch.tensor(4.0))
    assert total.item() == pytest.approx(parts["l1"].item() + 0.1 * parts["fft"].item() + 2.0)


def test_perfect_restoration_costs_nothing() -> None:
    for name in ("l1", "l2", "fft", "ssim"):
        assert RestorationLoss(**{name: 1.0})(TARGET, TARGET)[0].item() == pytest.approx(0.0, abs=1e-6)


def test_ssim_is_not_downsampled() -> None:
    """piq would halve an image of this size by default; field notes, section 1."""
    from piq import ssim

    torch.manual_seed(0)
    clean = torch.nn.functional.interpolate(torch.rand(1, 3, 10, 10), size=(400, 400), mode="bicubic").clamp(0, 1)
    noisy = (clean + 0.1 * torch.randn_like(clean)).clamp(0, 1)
    loss = RestorationLoss(ssim=1.0)(noisy, clean)[0].item()
    assert loss == pytest.approx(1 - ssim(noisy, clean, downsample=False).item())
    assert not math.isclose(loss, 1 - ssim(noisy, clean).item(), abs_tol=0.01)


def test_no_term_is_refused() -> None:
    with pytest.raises(ValueError, match="loss: every image term has weight 0"):
        RestorationLoss()


def test_float32_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, _ = RestorationLoss(l1=1.0, fft=0.1)(RESTORED.bfloat16(), TARGET)
    assert total.dtype == torch.float32


def test_every_weight_is_of_a_term_that_is_computed() -> None:
    """A weight that the constructor takes and nobody reads would be a switch that does nothing."""
    annotations = inspect.get_annotations(RestorationLoss.__init__)
    named = {name for name, annotation in annotations.items() if annotation is Weight} - {"router"}
    assert named == RestorationLoss(l1=1.0).weights.keys()
