"""`task=export`: the file gives what PyTorch gives, at any size, and says what it costs."""

import json
import logging
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers import composed, job
from omegaconf import OmegaConf
from torch import nn
from torch.onnx._internal.exporter._registration import ONNXRegistry

from daair import checkpoint
from daair.engine import exporting
from daair.errors import UserError
from daair.models import adair
from daair.models.experts import ExpertBank
from daair.tasks.export import export

TINY = {"_target_": "daair.models.nafnet.NAFNet", "channels": 4, "encoder_blocks": [1], "decoder_blocks": [1]}

# One option of each kind of network, made as small as it can be, and the parts that it can do without.
LEVEL = "model.encoder_blocks=[1] model.middle_blocks=0 model.decoder_blocks=[0]"
HEADS = "model.channels=4 model.heads=[1,1,1,1]"
LOWER = "encoder.1 encoder.2 encoder.3 decoder.1 decoder.2"
EXPORTED = {
    f"nafnet_tiny model.channels=4 model.window=32 {LEVEL}": "",
    f"daair_naf_tiny model.channels=4 model.window=32 router.tile=32 {LEVEL}": "",
    f"daair_tiny {HEADS} model.channels=8": f"{LOWER} encoder.0",
    f"restormer_tiny {HEADS}": f"{LOWER} decoder.0 refinement",
    f"promptir_tiny {HEADS}": f"{LOWER} encoder.0 decoder.0 refinement interact.1 interact.2",
    f"adair_tiny {HEADS}": f"{LOWER} decoder.0 refinement frequency.1 frequency.2",
    "swinir_tiny model.channels=6 model.blocks=[2] model.heads=[2]": "",
    "airnet_tiny model.channels=4 model.groups=1": "groups.0.blocks.0.guide2",
    "identity": "",
}
REFUSED = {
    "moceir_tiny": "its computation depends on the images; use it by daair.load or task=restore",
    "daair_tiny router=oracle": "it needs the degradation of each image; train it without router=oracle",
}
TRANSLATIONS = cache(ONNXRegistry.from_torchlib)
SIZES = ((1, 3, 67, 90), (2, 3, 24, 24))  # no multiples, and a square that is one; around the windows of 32 pixels


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Do without what takes half of the time of an export.

    PyTorch writes down every step of an export where something listens, as pytest does; it keeps the shapes of
    operations which do not come again, and reads its translations to ONNX from their sources each time.
    """
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "handlers", [])
    monkeypatch.setattr(ONNXRegistry, "from_torchlib", staticmethod(TRANSLATIONS))
    with torch._dynamo.config.patch(fake_tensor_cache_enabled=False):
        yield


class Nothing(nn.Sequential):
    """Parts that were left out; they return their first input."""

    def forward(self, feature, *others):
        return feature


def save(folder: Path, config: dict) -> Path:
    """Save a network whose weights are none of those that begin as the identity."""
    torch.manual_seed(0)
    network = checkpoint.build(config)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1) if parameter.dim() == 4 else parameter.data.add_(0.02)
    checkpoint.save(folder, network, config, ["noise25", "rain"], step=7)
    return folder


def small(options: str, without: str = "") -> nn.Module:
    """Return the network of options, with random weights and without the parts that are named."""
    cfg = composed(*f"model={options}".split()).model
    torch.manual_seed(0)
    network = checkpoint.build(OmegaConf.to_container(cfg, resolve=True)).eval()
    for part in without.split():
        owner, _, name = part.rpartition(".")
        setattr(network.get_submodule(owner), name, Nothing())
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network


def written(folder: Path, output: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """Export the network in a folder and return what runs the file."""
    cfg = SimpleNamespace(
        checkpoint=str(folder),
        output=str(output),
        trust=(),
        model={"_target_": "daair.models.daair.DaAIR"},
        profile=SimpleNamespace(size=32, repeats=2),
    )
    assert export(job(cfg)) == 0
    return exporting.runner(output)


@pytest.fixture
def onnx() -> None:
    for package in exporting.NEEDED:
        pytest.importorskip(package, reason="the extra `onnx` is not installed")


@pytest.mark.parametrize("options", EXPORTED)
def test_both_formats_equal_pytorch(options: str, tmp_path: Path, onnx: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adair, "GRID", 8)  # so that images of these sizes have a low band
    network = small(options, EXPORTED[options])
    program = exporting.trace(network, exporting.multiple_of(network))
    exporting.write(program, tmp_path / "net.onnx")
    runs = [program.module(), exporting.runner(tmp_path / "net.onnx")]
    for shape in SIZES:
        image = torch.rand(shape, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            expected = network(image)
        assert (expected - image).abs().max() > 0.01 or options == "identity"
        for run in runs:
            torch.testing.assert_close(run(image), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("options", REFUSED)
def test_networks_that_cannot_be_exported_say_why(options: str) -> None:
    network = small(options, "encoder.0 encoder.1 encoder.2 encoder.3")
    with pytest.raises(UserError) as refused:
        exporting.trace(network, 8)
    assert str(refused.value) == f"checkpoint: {type(network).__name__} cannot be exported: {REFUSED[options]}"


def test_onnx_and_its_card(tmp_path: Path, onnx: None) -> None:
    folder = save(tmp_path, TINY)
    run, network = written(folder, tmp_path / "out" / "model.onnx"), checkpoint.load(folder)
    image = torch.rand(1, 3, 33, 20)
    with torch.inference_mode():
        torch.testing.assert_close(run(image), network(image), rtol=0, atol=1e-4)
    card = json.loads((tmp_path / "out" / "model.onnx.json").read_text())
    assert card["parameters"] == sum(p.numel() for p in network.parameters()) and card["macs"] > 1e5
    assert card["degradations"] == ["noise25", "rain"] and card["updates"] == 7 and card["smallest_side"] == 8
    assert card["largest_difference"] < 1e-4 and card["latency_ms"]["exported"]["median"] > 0


def test_a_program_of_torch_export_and_its_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save(tmp_path, TINY)
    run, image = written(folder, tmp_path / "net.pt2"), torch.rand(3, 3, 21, 34)
    with torch.inference_mode():
        torch.testing.assert_close(run(image), checkpoint.load(folder)(image), rtol=0, atol=1e-5)
    assert "largest difference to PyTorch" in capsys.readouterr().out
    text = (tmp_path / "net.pt2.md").read_text()
    assert f"NAFNet of `{folder}`; removes noise25, rain; 7 updates. Format: torch.export." in text
    assert "any batch, sides of at least 8 pixels" in text
    with pytest.raises(Exception, match="size"):
        run(torch.rand(1, 3, 7, 34))


@pytest.mark.parametrize("depthwise", [True, False])
def test_an_exported_bank_convolves_as_the_other_does(depthwise: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    bank, y, index = ExpertBank(6, (2, 4, 4), 3, depthwise), torch.rand(3, 6, 9, 7), torch.tensor([2, 0, 2])
    expected = bank(y, index)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    torch.testing.assert_close(bank(y, index), expected)


def test_what_cannot_be_exported_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save(tmp_path, TINY)
    with pytest.raises(UserError, match=r"^output: net.pth: must end in .onnx \(ONNX\) or .pt2 \(torch.export\)$"):
        written(folder, Path("net.pth"))
    monkeypatch.setattr(exporting, "largest_difference", lambda *_: (_ for _ in ()).throw(UserError("differs")))
    with pytest.raises(UserError, match="differs"):
        written(folder, tmp_path / "net.pt2")
    assert not list(tmp_path.glob("*.pt2*"))
    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"ONNX needs onnx, onnxscript, onnxruntime; pip install -e '\.\[onnx\]'"):
        written(folder, tmp_path / "net.onnx")


class Coarse(nn.Module):
    """A network that takes sides of multiples of 64 only."""

    multiple = 64

    def forward(self, x):
        return nn.functional.interpolate(nn.functional.avg_pool2d(x, 64), scale_factor=64)


def test_a_coarse_network_is_compared_at_sizes_that_it_takes(tmp_path: Path) -> None:
    program = exporting.trace(Coarse(), 64)
    exporting.write(program, tmp_path / "net.pt2")
    run = exporting.runner(tmp_path / "net.pt2")
    assert exporting.largest_difference(exporting.AnySize(Coarse(), 64), run, 64) < 1e-6


def test_a_graph_begins_at_the_least_side_of_each_module() -> None:
    network = nn.Sequential(nn.Identity())
    assert exporting.smallest_side(network, 1) == exporting.LEAST and exporting.smallest_side(network, 16) == 17
    network[0].least_side = 40
    assert exporting.smallest_side(network, 16) == 40


class Counting(nn.Module):
    """A network that does more where the image is bright."""

    multiple = 1

    def forward(self, x):
        return x * 2 if x.mean() > 0.5 else x


class Measuring(nn.Module):
    """A network that does more to large images."""

    multiple = 1

    def forward(self, x):
        return x * 2 if x.shape[-1] > 8 else x


def test_a_network_that_looks_at_the_image_cannot_be_exported(capfd: pytest.CaptureFixture[str]) -> None:
    for network, by in ((Counting(), "the images"), (Measuring(), "the size of the images")):
        message = f"^checkpoint: {type(network).__name__} cannot be exported: its computation depends on {by};"
        with pytest.raises(UserError, match=message):
            exporting.trace(network, 1)
    assert capfd.readouterr() == ("", "")
    labelled = Counting()
    labelled.needs_labels = True
    with pytest.raises(UserError, match="needs the degradation"):
        exporting.trace(labelled, 1)
