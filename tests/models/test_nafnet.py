"""NAFNet: the published network and its weights, sizes, training."""

import pytest
import torch

from daair.models.nafnet import NAFNet


def tiny() -> NAFNet:
    torch.manual_seed(0)
    return NAFNet(8, (1, 2, 1), 2, (3, 1, 2))


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        ({}, 17_111_907),
        ({"channels": 64}, 67_888_835),
        ({"encoder_blocks": (2, 2, 4, 8), "middle_blocks": 12, "decoder_blocks": (2, 2, 2, 2)}, 29_159_715),
        ({"channels": 20, "encoder_blocks": (1, 1, 1), "decoder_blocks": (1, 1, 1)}, 447_103),
    ],
    ids=str,
)
def test_parameters(arguments: dict, parameters: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in NAFNet(**arguments).parameters()) == parameters


def test_another_implementation_agrees() -> None:
    """The one of spandrel, which loads the authors' checkpoints; so their names are mapped rightly too."""
    other = pytest.importorskip("spandrel.architectures.NAFNet").NAFNet
    torch.manual_seed(0)
    published = other(width=8, enc_blk_nums=[1, 2, 1], middle_blk_num=2, dec_blk_nums=[2, 1, 3]).eval()
    for parameter in published.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    state = NAFNet.from_published(published.state_dict())
    model = tiny().eval()
    model.load_state_dict(state)
    assert len(state) == len(published.state_dict()) and NAFNet.from_published(state).keys() == state.keys()
    x = torch.rand(2, 3, 24, 40)
    with torch.inference_mode():
        torch.testing.assert_close(model(x), published(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3), (17, 23)], ids=str)
def test_any_size_keeps_its_shape(size: tuple[int, int]) -> None:
    with torch.inference_mode():
        assert tiny().eval()(torch.rand(1, 3, *size)).shape == (1, 3, *size)


def test_one_gradient_step() -> None:
    model = tiny().train()
    model(torch.rand(2, 3, 16, 16)).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_unequal_numbers_of_levels_are_named() -> None:
    with pytest.raises(ValueError, match="^model.decoder_blocks: 3 levels, but the encoder has 4"):
        NAFNet(decoder_blocks=(1, 1, 1))
