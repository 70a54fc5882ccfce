"""Checkpoints to go on from: they come back whole, and a file in one is data, never code."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from daair.engine import checkpoints
from daair.errors import UserError


class Evil:
    """Runs code when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return (Path.touch, (self.file,))


def a_training() -> tuple[Accelerator, nn.Module, nn.Module]:
    """An accelerator that knows a network and its optimizer, the network, and the one with its averaged weights."""
    accelerator, network, averaged = Accelerator(cpu=True), nn.Linear(2, 1), nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(network.parameters())
    network, optimizer = accelerator.prepare(network, optimizer)
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return accelerator, network, averaged


def test_network_and_averaged_weights_come_back_from_the_newest(tmp_path: Path) -> None:
    accelerator, network, averaged = a_training()
    for step in (1, 2, 3):
        with torch.no_grad():
            network.weight.fill_(step)
            averaged.weight.fill_(10 * step)
        checkpoints.save(accelerator, averaged, tmp_path, step, keep=2)
    assert [path.name for path in checkpoints.found(tmp_path)] == ["step-00000002", "step-00000003"]
    for module in (network, averaged):
        nn.init.zeros_(module.weight)
    assert checkpoints.resume(accelerator, averaged, tmp_path) == 3
    assert (network.weight == 3).all() and (averaged.weight == 30).all()
    assert checkpoints.resume(accelerator, averaged, tmp_path / "none") == 0


@pytest.mark.parametrize("name", ["custom_checkpoint_0.pkl", "optimizer.bin", "random_states_0.pkl"])
def test_a_pickle_in_a_checkpoint_is_not_run(tmp_path: Path, name: str) -> None:
    accelerator, _, averaged = a_training()
    folder = checkpoints.save(accelerator, averaged, tmp_path / "checkpoints", 1, keep=1)
    torch.save(Evil(tmp_path / "owned"), folder / name)
    try:
        checkpoints.resume(accelerator, averaged, tmp_path / "checkpoints")
    except UserError as error:
        assert "step-00000001: cannot be loaded (" in str(error)
    assert not (tmp_path / "owned").exists()


def test_a_checkpoint_without_averaged_weights_is_told(tmp_path: Path) -> None:
    accelerator, _, averaged = a_training()
    folder = checkpoints.save(accelerator, averaged, tmp_path, 1, keep=1)
    (folder / checkpoints.AVERAGED).unlink()
    with pytest.raises(UserError, match="step-00000001: has no averaged.safetensors"):
        checkpoints.resume(accelerator, averaged, tmp_path)


@pytest.mark.parametrize("name", ["averaged.safetensors", "model.safetensors", "optimizer.bin"])
def test_an_empty_file_is_one_line_that_names_the_checkpoint(tmp_path: Path, name: str) -> None:
    accelerator, _, averaged = a_training()
    folder = checkpoints.save(accelerator, averaged, tmp_path, 1, keep=1)
    (folder / name).write_bytes(b"")
    with pytest.raises(UserError, match=r"step-00000001: cannot be loaded \(.+\); remove it to go on") as caught:
        checkpoints.resume(accelerator, averaged, tmp_path)
    assert "\n" not in str(caught.value)
