"""MoCE-IR against what the authors' code returns, and as a part of the lab."""

import pytest
import torch
from peers import (
    TOLERANCE,
    build,
    check_bfloat16,
    check_names,
    check_published,
    check_sizes,
    filled,
    images,
    stored,
    unchanged_by_a_step,
)

from daair.models.balance import Balance
from daair.models.moceir import ComplexityRouter, MoCEIR


@pytest.mark.parametrize("name", ["moceir", "moceir_s"])
def test_is_the_published_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(name, "model.batch_mean=true")
    check_published(model, name)
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    with torch.no_grad():
        aux = model.train().routed(images(8, 64, 64, "query")).terms["router"]
    assert aux.item() == pytest.approx(float(stored()[f"{name}/aux"]), rel=TOLERANCE)


def test_published_names() -> None:
    check_names(MoCEIR, "moceir_s")


def tiny() -> MoCEIR:
    return build("moceir_tiny")


def test_a_step_changes_every_parameter_but_idle_experts() -> None:
    model = tiny()
    unchanged, restored = unchanged_by_a_step(model, torch.rand(4, 3, 24, 24))
    chosen = restored.gates.sum(dim=1) > 0  # (L, N)
    idle = set()
    blocks = [f"decoder.{level}.{i}" for level in (2, 1, 0) for i in range(len(model.decoder[level]))]
    for block, used in zip(blocks, chosen.tolist(), strict=True):
        idle |= {f"{block}.mixture.experts.{i}." for i, one in enumerate(used) if not one}
    assert idle
    names = {name for name, _ in model.named_parameters() if any(name.startswith(prefix) for prefix in idle)}
    assert unchanged == names


def test_tiny() -> None:
    model = tiny()
    assert 0.4e6 < sum(p.numel() for p in model.parameters()) <= 0.5e6
    check_sizes(model, (17, 23), (5, 3), (1, 40))
    check_bfloat16(model)


def test_routing_is_returned() -> None:
    model, x = tiny(), torch.rand(3, 3, 16, 16)
    restored = model.eval().routed(x)
    assert restored.gates.shape == (3, 3, 3) and restored.gates.dtype == torch.float32
    assert (restored.gates > 0).sum(dim=2).eq(1).all() and restored.terms["router"] == 0
    torch.testing.assert_close(restored.image, model(x), rtol=0, atol=0)


def test_noise_is_drawn_in_training_only() -> None:
    model, x = tiny(), torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        first, second = (model.train().routed(x).gates for _ in range(2))
        assert not torch.equal(first, second)
        assert torch.equal(model.eval()(x), model(x))


def mixed(batch_mean: bool) -> MoCEIR:
    """With weights and images that make two images choose different experts."""
    model = build("moceir_s", f"model.batch_mean={str(batch_mean).lower()}")
    model.load_state_dict(model.from_published(filled("moceir_s")))
    return model.eval()


def test_a_sample_does_not_depend_on_its_batch_unless_asked() -> None:
    x = images(2, 64, 64)
    with torch.inference_mode():
        own, shared = mixed(False), mixed(True)
        together, apart = own(x), torch.cat([own(one[None]) for one in x])
        torch.testing.assert_close(together, apart, rtol=0, atol=1e-4)
        torch.testing.assert_close(shared(x[:1]), apart[:1], rtol=0, atol=1e-4)
        assert (shared(x) - together).abs().max() > 1e-3


def test_complexity_is_the_share_of_the_largest_expert() -> None:
    mixture = tiny().decoder[0][0].mixture
    counts = [sum(p.numel() for p in expert.parameters()) for expert in mixture.experts]
    assert counts == sorted(counts)
    assert mixture.router.complexity.tolist() == pytest.approx([count / counts[-1] for count in counts])


def test_balance_prefers_cheap_experts() -> None:
    router, balance = ComplexityRouter(4, 4, [1, 4], noise=1.0), Balance(importance=1.0, load=0.0)
    cheap, dear = torch.tensor([[2.0, 0.0]]).repeat(4, 1), torch.tensor([[0.0, 2.0]]).repeat(4, 1)
    assert balance(router._shares(cheap, cheap)[None]) < balance(router._shares(dear, dear)[None])


def test_high_pass_is_fixed_and_blind_to_constants() -> None:
    frequency = tiny().frequency
    assert not frequency.high_pass.weight.requires_grad
    constant = frequency.high_pass(torch.ones(1, 96, 5, 5))[..., 1:-1, 1:-1]
    assert constant.abs().max() == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": (5, 2, 4, 8)}, "model.heads: 5 heads do not divide the 48 channels of level 0"),
        ({"channels": 12}, "model.channels: must be a multiple of 8 and above it with 4 experts .* got 12"),
        ({"channels": 8}, "model.channels: must be a multiple of 8 and above it with 4 experts .* got 8"),
    ],
    ids=str,
)
def test_impossible_sizes_are_refused(changes: dict, message: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        MoCEIR(**changes)
