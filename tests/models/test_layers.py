"""Means over windows: what they are by hand, and that networks have them after training alone."""

import pytest
import torch
import torch.nn.functional as F

from daair import checkpoint
from daair.cli import conf_dir
from daair.config.compose import Composer
from daair.config.identity import config_id
from daair.config.validate import validate
from daair.models.layers import local_means


@pytest.mark.parametrize("side", [1, 2, 5, 8, 9])
@pytest.mark.parametrize("dims", [(2, 3), (1, 2)])
def test_local_means_are_those_of_windows_with_the_outermost_at_the_edges(side: int, dims: tuple[int, int]) -> None:
    x = torch.rand(2, 3, 9, 14, generator=torch.Generator().manual_seed(0))
    kernel = (side, side)
    valid = F.avg_pool2d(x, kernel, stride=1)
    low, high = (side - 1) // 2, side - 1 - (side - 1) // 2
    expected = F.pad(valid, (low, high, low, high), mode="replicate") if side > 1 else valid
    given = x if dims == (2, 3) else x.permute(0, 2, 3, 1)
    found = local_means(given, side, dims)
    found = found if dims == (2, 3) else found.permute(0, 3, 1, 2)
    torch.testing.assert_close(found.expand_as(x), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("side", [None, 14, 100])
def test_windows_that_hold_everything_are_the_mean_of_everything(side: int | None) -> None:
    x = torch.rand(2, 3, 9, 14)
    assert torch.equal(local_means(x, side), x.mean((2, 3), keepdim=True))


@pytest.mark.parametrize("model", ["nafnet_tiny", "daair_naf_tiny"])
def test_a_window_changes_large_images_after_training_and_nothing_else(model: str) -> None:
    composer, networks = Composer(conf_dir()), []
    for window in ("null", "32"):
        torch.manual_seed(0)
        networks.append(
            checkpoint.build(validate(composer.compose([f"model={model}", f"model.window={window}"])).model)
        )
        for name, parameter in networks[-1].named_parameters():
            if name.endswith(("beta", "gamma", "out.weight")):
                torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(1))
    whole, local = (network.eval() for network in networks)
    small, large = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(whole(small), local(small))
        assert not torch.allclose(whole(large), local(large), atol=1e-4)
        if model == "nafnet_tiny":  # the router of the other draws on batch statistics in training
            assert torch.equal(whole.train()(large), local.train()(large)), "crops of the training may be larger"


def test_a_network_without_a_window_keeps_its_id() -> None:
    composer = Composer(conf_dir())
    ids = [
        config_id(validate(composer.compose(["model=nafnet_tiny", "mix=demo", *more])))
        for more in ([], ["model.window=96"])
    ]
    assert ids[0] != ids[1]
    cfg = validate(composer.compose(["model=nafnet_tiny", "mix=demo"]))
    before = cfg.model_copy(update={"model": {key: value for key, value in cfg.model.items() if key != "window"}})
    assert config_id(before) == ids[0]
