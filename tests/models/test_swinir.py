"""SwinIR: the published network and its weights, sizes, training."""

import pytest
import torch

from daair.models.swinir import SwinIR

TINY = {"channels": 12, "blocks": (2, 3), "heads": (2, 3), "window": 4}


def tiny() -> SwinIR:
    torch.manual_seed(0)
    return SwinIR(**TINY)


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        ({}, 905_283),
        ({"channels": 180, "blocks": (6,) * 6, "heads": (6,) * 6}, 11_504_163),
        ({"channels": 36, "blocks": (4, 4, 4), "heads": (6, 6, 6)}, 194_295),
    ],
    ids=str,
)
def test_parameters(arguments: dict, parameters: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in SwinIR(**arguments).parameters()) == parameters


@pytest.mark.filterwarnings("ignore:torch.meshgrid")
def test_another_implementation_agrees() -> None:
    """The one of spandrel, which is the authors' own; so their names are mapped rightly too."""
    other = pytest.importorskip("spandrel.architectures.SwinIR").SwinIR
    torch.manual_seed(0)
    published = other(img_size=16, embed_dim=12, depths=[2, 3], num_heads=[2, 3], window_size=4, mlp_ratio=2).eval()
    for parameter in published.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    state = SwinIR.from_published(published.state_dict())
    model = tiny().eval()
    model.load_state_dict(state)
    assert len(state) == len(dict(published.named_parameters())) and SwinIR.from_published(state).keys() == state.keys()
    for size in ((16, 16), (4, 4), (8, 20), (17, 19)):
        x = torch.rand(2, 3, *size)
        with torch.inference_mode():
            torch.testing.assert_close(model(x), published(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3), (17, 23)], ids=str)
def test_any_size_keeps_its_shape(size: tuple[int, int]) -> None:
    with torch.inference_mode():
        assert tiny().eval()(torch.rand(1, 3, *size)).shape == (1, 3, *size)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
def test_one_gradient_step(precision: torch.dtype) -> None:
    model = tiny().train()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision != torch.float32):
        restored = model(torch.rand(2, 3, 16, 16))
    assert restored.dtype == torch.float32
    restored.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_sizes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="^model.heads: 5 heads do not divide the 12 channels"):
        SwinIR(**{**TINY, "heads": (5, 3)})
    with pytest.raises(ValueError, match="^model.heads: 1 numbers for 2 groups"):
        SwinIR(**{**TINY, "heads": (2,)})
