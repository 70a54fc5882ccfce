"""Loss terms against their formulas, with golden values."""

import inspect
import math

import pytest
import torch
import yaml
from helpers import ROOT

from daair.losses import TERMS, RestorationLoss, Weight, check_terms, total_loss

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


def test_weights_combine_and_the_terms_of_the_network_are_added() -> None:
    loss = RestorationLoss(l1=1.0, fft=0.1, terms={"router": 0.5})
    total, parts = total_loss(loss, RESTORED, TARGET, {"router": torch.tensor(4.0)})
    assert list(parts) == ["l1", "fft", "router"]
    assert total.item() == pytest.approx(parts["l1"].item() + 0.1 * parts["fft"].item() + 2.0)


def test_a_term_alone_and_a_loss_from_elsewhere() -> None:
    term = {"router": torch.tensor(3.0)}
    total, parts = total_loss(RestorationLoss(l1=1.0, terms={"router": 2.0}), None, TARGET, term)
    assert total.item() == 6 and list(parts) == ["router"]
    total, parts = total_loss(torch.nn.L1Loss(), RESTORED, TARGET, term)
    assert total.item() == pytest.approx((RESTORED - TARGET).abs().mean().item() + TERMS["router"] * 3)
    with pytest.raises(ValueError, match="neither an image nor a loss term"):
        total_loss(torch.nn.L1Loss(), None, TARGET, {})


def test_weights_must_fit_the_terms_of_the_network() -> None:
    for terms in ({"router": 0.01}, {"router": 0.0}, {"other": 0.0}, {}):
        check_terms(RestorationLoss(l1=1.0, terms=terms), (), "Net")
    check_terms(RestorationLoss(l1=1.0, terms={"router": 0.5}), ("router",), "Net")
    check_terms(torch.nn.L1Loss(), ("router",), "Net")
    with pytest.raises(ValueError, match="^loss.terms.router: unused; Net adds no term to the image loss$"):
        check_terms(RestorationLoss(l1=1.0, terms={"router": 0.5}), (), "Net")
    with pytest.raises(ValueError, match="^loss.terms.b: missing; Net has the terms a, b; give it a weight: "):
        check_terms(RestorationLoss(l1=1.0, terms={"a": 1.0}), ("a", "b"), "Net")


def test_the_default_weights_are_those_of_the_configs() -> None:
    for file in (ROOT / "conf" / "loss").glob("*.yaml"):
        assert yaml.safe_load(file.read_text()).get("terms", TERMS) == TERMS


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


def test_ssim_reads_no_value_and_a_nan_reaches_the_engine() -> None:
    """On the meta device there are no values to read, so a check of their range would fail."""
    loss, broken = RestorationLoss(ssim=1.0), RESTORED.clone()
    assert loss._ssim(RESTORED.to("meta"), TARGET.to("meta")).shape == ()
    broken[0, 0, 3, 3] = math.nan
    assert loss(broken, TARGET)[0].isnan()


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
    named = {name for name, annotation in annotations.items() if annotation is Weight}
    assert named == RestorationLoss(l1=1.0).weights.keys()
