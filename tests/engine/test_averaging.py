"""The average of the weights is timm's to the last bit, looked up once."""

import pytest
import torch
from torch import nn

from daair.engine.averaging import Averaged
from daair.submodules import submodule


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3))


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.999])
def test_it_is_timms_to_the_last_bit(decay: float) -> None:
    model = network()
    ours, theirs = Averaged(model, decay), submodule("timm.utils.model_ema").ModelEmaV3(model, decay, use_warmup=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for step in range(1, 6):
        model(torch.randn(2, 3, 8, 8)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        for averaged in (ours, theirs):
            averaged.update(model, step)
    stored = theirs.module.state_dict()
    assert stored["1.num_batches_tracked"] == 5
    for name, tensor in ours.module.state_dict().items():
        assert torch.equal(tensor, stored[name]), name
        assert (decay > 0) != torch.equal(tensor, model.state_dict()[name]) or not tensor.is_floating_point(), name


def test_weights_that_were_loaded_in_place_are_averaged() -> None:
    model = network()
    averaged = Averaged(model, 0.5)
    averaged.module.load_state_dict({name: torch.zeros_like(t) for name, t in model.state_dict().items()})
    model.load_state_dict({name: torch.ones_like(t) for name, t in model.state_dict().items()})
    averaged.update(model, 100)
    assert all(torch.allclose(p, torch.tensor(0.5)) for p in averaged.module.parameters())


class Replacing(nn.Module):
    """A network whose buffer is another tensor after each pass."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1))
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.mean = self.mean + 1
        return x * self.scale


def test_a_buffer_that_was_replaced_is_followed() -> None:
    model = Replacing()
    averaged = Averaged(model, 0.5)
    for step in (100, 101):
        model(torch.ones(1))
        averaged.update(model, step)
    assert averaged.module.mean.item() == pytest.approx(0.5 * 0.5 + 0.5 * 2)
    averaged.module(torch.ones(1))  # as a validation does
    averaged.update(model, 102)
    assert averaged.module.mean.item() == pytest.approx(0.5 * 2.25 + 0.5 * 2)
    assert dict(averaged.named_buffers()) and averaged.state_dict(), "it is a module like others"


def test_weights_that_were_moved_are_found_again() -> None:
    model = network()
    averaged = Averaged(model, 0.5)
    averaged.update(model, 100)
    for tensor in (*model.parameters(), *averaged.module.parameters()):  # as DDP does on the CPU
        tensor.data = tensor.data.clone()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1
    before = [parameter.clone() for parameter in averaged.module.parameters()]
    averaged.update(model, 100)
    for was, now in zip(before, averaged.module.parameters(), strict=True):
        torch.testing.assert_close(now, was + 0.5)
