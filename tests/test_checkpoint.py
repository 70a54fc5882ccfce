"""Weights as files: round trip, damage, and somebody else's checkpoint."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import daair
from daair import checkpoint
from daair.errors import UserError
from daair.models import training

MODEL = {
    "_target_": "daair.models.daair.DaAIR",
    "channels": 8,
    "encoder_blocks": [1, 1, 1, 1],
    "decoder_blocks": [1, 1, 1],
    "heads": [1, 1, 2, 2],
    "experts": {"_target_": "daair.models.experts.ExpertLayout", "count": 2, "rank": 2},
    "router": {"_target_": "daair.models.router.Top1", "_partial_": True},
    "control": {"_target_": "daair.models.dale.Control", "update": "ema"},
}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = checkpoint.build(MODEL)
    torch.nn.init.normal_(model.out.weight, std=0.1)
    checkpoint.save(tmp_path, model, MODEL, ["noise", "rain"], step=7)
    return tmp_path


def describe(folder: Path, **changes) -> None:
    file = folder / "model.json"
    stored = json.loads(file.read_text())
    stored["model"] |= changes
    file.write_text(json.dumps(stored))


def test_round_trip(saved: Path) -> None:
    first, second = daair.load(saved), daair.load(saved / "model.safetensors")
    assert isinstance(first, nn.Module) and not first.training
    assert (first.labels, first.step) == (["noise", "rain"], 7)
    x = torch.rand(1, 3, 13, 17)
    with torch.inference_mode():
        assert torch.equal(first(x), second(x)) and first(x).shape == x.shape


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "subprocess.run",
        "torch.load",
        "daair.checkpoint.torch.load",
        "daair.models.daair.torch.hub.load",
        "daair.models.daair.torch",
        "daair.models.experts.reset_expert",
        "daair.runs.environment.git_diff",
        "daair.models.nothing.Here",
        7,
    ],
)
def test_stored_config_cannot_name_foreign_code(saved: Path, target: object) -> None:
    describe(saved, router={"_target_": target, "_partial_": True})
    with pytest.raises(UserError, match="refused, since it names"):
        daair.load(saved)


def test_stored_config_cannot_interpolate(saved: Path) -> None:
    describe(saved, attention="${oc.env:HOME}")
    with pytest.raises(UserError, match="refused, since it holds the interpolation"):
        daair.load(saved)


def test_pickles_are_not_loaded(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "owned",))

    torch.save({"w": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(UserError, match="not a .safetensors file"):
        daair.load(tmp_path / "evil.pth")
    with pytest.raises(UserError, match="refused, since it is not a plain state dict"):
        checkpoint.load_weights(nn.Linear(1, 1), tmp_path / "evil.pth")
    assert not (tmp_path / "owned").exists()


def test_damage_is_named(saved: Path) -> None:
    weights = saved / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    with pytest.raises(UserError, match="model.safetensors: damaged or not a weights file"):
        daair.load(saved)
    weights.write_bytes(whole)
    describe(saved, channels=16)
    with pytest.raises(UserError, match="weights of another network than the config describes; they differ in"):
        daair.load(saved)
    (saved / "model.json").write_text("{")
    with pytest.raises(UserError, match="model.json: damaged"):
        daair.load(saved)
    (saved / "model.json").unlink()
    with pytest.raises(UserError, match="model.json is missing"):
        daair.load(saved)


@pytest.mark.parametrize(
    "text", ['{"model": 3}', '{"model": null}', '{"model": {}}', "[]", '{"labels": []}', "", "[" * 99999]
)
def test_an_odd_description_is_named(saved: Path, text: str) -> None:
    (saved / "model.json").write_text(text)
    with pytest.raises(UserError, match="model.json: damaged or not written by daair"):
        daair.load(saved)


def test_buffers_count_as_weights_of_a_network_that_cannot_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"channels": 1, "groups": 1, "blocks": 1, "features": 8}
    monkeypatch.setattr(checkpoint.psutil, "virtual_memory", lambda: SimpleNamespace(total=1_000_000))
    with pytest.raises(UserError, match="too large for this machine's memory"):
        checkpoint.build({"_target_": "daair.models.airnet.AirNet", "queue": 100_000, **sizes})
    checkpoint.build({"_target_": "daair.models.airnet.AirNet", "queue": 100, **sizes})


@pytest.mark.parametrize("labels", [[1, {}], {"rain": 1}, "rain", ["\x1b[31mrain"]], ids=str)
def test_labels_that_are_no_names_are_refused(saved: Path, labels: object) -> None:
    stored = json.loads((saved / "model.json").read_text())
    (saved / "model.json").write_text(json.dumps(stored | {"labels": labels}))
    with pytest.raises(UserError, match="model.json: damaged or not written by daair .its labels are no list of names"):
        daair.load(saved)


@pytest.mark.parametrize("change", [{"chanels": 8}, {"channels": 15}, {"channels": "abc"}], ids=str)
def test_a_description_of_no_network_is_named(saved: Path, change: dict) -> None:
    describe(saved, **change)
    with pytest.raises(UserError, match="model.json: describes no network") as caught:
        daair.load(saved)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("stored", [None, [1, 2], {"state_dict": [1]}, {1: torch.zeros(1)}], ids=str)
def test_files_without_a_state_dict(tmp_path: Path, stored: object) -> None:
    file = tmp_path / "net.pth"
    file.touch() if stored is None else torch.save(stored, file)
    with pytest.raises(UserError, match="net.pth: (is not a weights file|holds no state dict)"):
        checkpoint.load_weights(nn.Linear(1, 1), file)


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=f"{name}: is no file"):
        checkpoint.load_weights(nn.Linear(1, 1), tmp_path / name)


def test_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    torch.save({name: value.long() for name, value in nn.Linear(1, 1).state_dict().items()}, tmp_path / "net.pth")
    with pytest.raises(UserError, match="weight is int64, where the network has fractions; quantized weights cannot"):
        checkpoint.load_weights(nn.Linear(1, 1), tmp_path / "net.pth")


def test_a_network_too_large_for_the_memory_is_one_line() -> None:
    with pytest.raises(UserError, match="^model: is too large for this machine's memory"):
        checkpoint.build({"_target_": "torch.nn.Linear", "in_features": 10**9, "out_features": 10**9})


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist; give a run's folder"):
        daair.load(tmp_path / "no")
    with pytest.raises(UserError, match="holds no model.safetensors"):
        daair.load(tmp_path)


@pytest.mark.parametrize("wrap", [None, "state_dict", "params"])
def test_foreign_state_dict(tmp_path: Path, wrap: str | None) -> None:
    config = {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 3, "kernel_size": 1}
    source = nn.Conv2d(3, 3, 1)
    state = source.state_dict()
    torch.save({wrap: state, "epoch": 3} if wrap else state, tmp_path / "net.pth")
    model = checkpoint.build(config)
    checkpoint.load_weights(model, tmp_path / "net.pth")
    x = torch.rand(1, 3, 4, 4)
    assert torch.equal(model(x), source(x))


def test_a_network_comes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, folder = daair.load("daair_tiny"), checkpoint.SHIPPED / "daair_tiny"
    assert {file.name for file in folder.iterdir()} == {"README.md", "model.json", "model.safetensors"}
    assert (folder / "model.safetensors").stat().st_size < 2.5e6
    card = (folder / "README.md").read_text()
    assert f"| updates | {model.step} |" in card and all(f"| images with {name} | " in card for name in model.labels)
    rows = daair.evaluate(model, "demo_noise25")
    told = f"| demo_noise25 | promptir | 3 | {rows.input_psnr.mean():.2f} |"
    (line,) = [line for line in card.splitlines() if line.startswith(told)]
    assert float(line.split("|")[6]) == pytest.approx(rows.psnr.mean(), abs=0.02)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "daair_tiny").mkdir()  # a folder of that name comes first
    with pytest.raises(UserError, match="daair_tiny holds no model.safetensors"):
        daair.load("daair_tiny")


@pytest.mark.parametrize("prefix", ["module.", "net."])
def test_names_of_a_wrapper_are_taken_off_the_weights(tmp_path: Path, prefix: str) -> None:
    """DataParallel and training classes put their own name before those of the network."""
    net, other = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
    torch.save({prefix + name: value for name, value in net.state_dict().items()}, tmp_path / "x.pth")
    checkpoint.load_weights(other, tmp_path / "x.pth")
    assert torch.equal(net.weight, other.weight)
    torch.save({prefix + "weight": net.weight, "bias": net.bias}, tmp_path / "y.pth")
    with pytest.raises(UserError, match=rf"another network than the config describes; they differ in {prefix}weight"):
        checkpoint.load_weights(other, tmp_path / "y.pth")


def test_the_folder_above_a_run_is_not_taken_for_it(saved: Path) -> None:
    (saved / "seed0").mkdir()
    (saved / "model.safetensors").rename(saved / "seed0" / "model.safetensors")
    with pytest.raises(UserError, match=r"holds no model.safetensors; did you mean .*seed0\?"):
        checkpoint.find_weights(saved)


def test_plain_network_is_saved_and_loaded(tmp_path: Path) -> None:
    config = {"_target_": "daair.models.layers.FeedForward", "channels": 3, "expansion": 2.0}
    model = checkpoint.build(config)
    x = torch.rand(2, 3, 8, 8)
    output = model(x)
    file = checkpoint.save(tmp_path, model, config, ["noise15"], 1)
    assert load_file(file).keys() == model.state_dict().keys()
    assert torch.equal(daair.load(tmp_path)(x), output)


def test_what_is_no_network_or_returns_no_images() -> None:
    with pytest.raises(UserError, match="model._target_: collections.Counter makes a Counter, not a torch.nn.Module"):
        checkpoint.build({"_target_": "collections.Counter"})
    with pytest.raises(UserError, match="model: LSTM returns a tuple instead of images"):
        training.apply(nn.LSTM(3, 3), torch.zeros(1, 3, 3))


def test_unbuildable_model_is_one_line() -> None:
    with pytest.raises(UserError, match="^model.heads: 3 heads do not divide"):
        checkpoint.build({**MODEL, "heads": [3, 1, 1, 1]})
