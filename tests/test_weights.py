"""Weights files as they are found: every nesting, prefix and format, and files that would run code."""

import argparse
import collections
import itertools
import os
import sys
import types
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file
from torch import Tensor, nn

from daair.errors import UserError
from daair.weights import NESTED, fit, read_state


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 3, 3))


STATE = network().state_dict()


def fits(path: Path) -> tuple[str, ...]:
    """Read and fit; returns the notes."""
    state = read_state(path)
    assert all(torch.equal(tensor, STATE[name]) for name, tensor in fit(state, STATE)[0].items())
    return state.notes


def prefixed(prefix: str, state: dict[str, Tensor] = STATE) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize("nested", [*NESTED, None])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt"])
@pytest.mark.parametrize("new", [True, False], ids=["zip", "old format"])
def test_every_nesting_and_format_of_torch(tmp_path: Path, nested: str | None, suffix: str, new: bool) -> None:
    file = tmp_path / f"net{suffix}"
    held = {nested: STATE, "epoch": 3, "optimizer": {"state": {}}} if nested else STATE
    torch.save(held, file, _use_new_zipfile_serialization=new)
    assert fits(file) == ()


def test_nested_twice(tmp_path: Path) -> None:
    torch.save({"model": {"state_dict": prefixed("module.")}}, tmp_path / "net.pth")
    fits(tmp_path / "net.pth")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_prefixes_in_any_combination(tmp_path: Path, count: int) -> None:
    for used in itertools.permutations(["module.", "_orig_mod.", "net.", "model."], count):
        save_file(prefixed("".join(used)), tmp_path / "net.safetensors")
        fits(tmp_path / "net.safetensors")


def test_wrappers_within_and_averaged_models(tmp_path: Path) -> None:
    inside = {name.replace(".", "._orig_mod.", 1): tensor for name, tensor in STATE.items()}
    torch.save({"n_averaged": torch.tensor(5), **prefixed("module.", inside)}, tmp_path / "net.pth")
    fits(tmp_path / "net.pth")


def test_a_network_whose_own_names_look_like_a_wrapper(tmp_path: Path) -> None:
    expected = prefixed("net.")
    torch.save(prefixed("module.", expected), tmp_path / "net.pth")
    assert fit(read_state(tmp_path / "net.pth"), expected)[0].keys() == expected.keys()


def test_averaged_weights_are_preferred_and_it_is_said(tmp_path: Path) -> None:
    torch.save(
        {"params": {name: tensor + 1 for name, tensor in STATE.items()}, "params_ema": STATE}, tmp_path / "a.pth"
    )
    assert fits(tmp_path / "a.pth") == (f"{tmp_path}/a.pth: uses params_ema, the averaged weights, not params",)
    torch.save({"params_ema": STATE}, tmp_path / "b.pth")
    assert fits(tmp_path / "b.pth") == ()


def test_what_is_no_tensor_is_left_out(tmp_path: Path) -> None:
    torch.save({**STATE, "version": 2}, tmp_path / "a.pth")
    assert fits(tmp_path / "a.pth") == (f"{tmp_path}/a.pth: ignored entries that are not tensors: version",)


class Settings:
    """Of a module that is not there when the file is read."""

    def __init__(self) -> None:
        self.rate = 0.1


class AttributeDict(dict):
    """As Lightning's, where hyper-parameters are kept."""


def hyper_parameters(kind: str) -> object:
    return {
        "namespace": argparse.Namespace(lr=2e-4, de_type=["derain"], root=Path("data")),
        "simple": types.SimpleNamespace(a=1),
        "attributes": AttributeDict(lr=2e-4),
        "own": Settings(),
        "paths": [Path("a"), PurePosixPath("b")],
        "collections": [collections.OrderedDict(a=1), collections.defaultdict(list, a=[1]), collections.deque([1, 2])],
        "counter": collections.Counter("aab"),
        "numpy": [np.float64(31.2), np.int64(3), np.arange(3), np.dtype("float32")],
        "omegaconf": OmegaConf.create({"a": {"b": [1, "${x}"]}, "x": "text"}),
        "loss": [nn.L1Loss(), torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1)],
    }[kind]


KINDS = ["namespace", "simple", "attributes", "own", "paths", "collections", "counter", "numpy", "omegaconf", "loss"]


@pytest.mark.parametrize("kind", KINDS)
def test_checkpoints_of_trainers(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        module = types.ModuleType("their_package")
        module.Settings, module.AttributeDict = Settings, AttributeDict
        patch.setitem(sys.modules, "their_package", module)
        patch.setattr(Settings, "__module__", "their_package")
        patch.setattr(AttributeDict, "__module__", "their_package")
        torch.save({"state_dict": prefixed("net."), "hyper_parameters": hyper_parameters(kind)}, tmp_path / "a.ckpt")
    fits(tmp_path / "a.ckpt")
    assert "their_package" not in sys.modules


def test_namespace_in_the_old_format(tmp_path: Path) -> None:
    held = {"state_dict": STATE, "args": argparse.Namespace(lr=np.float64(2e-4))}
    torch.save(held, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    fits(tmp_path / "a.pth")


class Hostile:
    def __init__(self, function, *arguments) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize("new", [True, False], ids=["zip", "old format"])
@pytest.mark.parametrize(
    "function",
    [os.mkdir, Path.mkdir, eval, exec, __import__, getattr, os.system],
    ids=lambda function: f"{function.__module__}.{function.__qualname__}",
)
def test_hostile_pickles_do_not_run(tmp_path: Path, function, new: bool) -> None:
    owned = tmp_path / "owned"
    argument = {os.mkdir: str(owned), Path.mkdir: owned, os.system: f"mkdir {owned}"}.get(
        function, f"__import__('os').mkdir({str(owned)!r})"
    )
    evil = Hostile(function, argument)
    torch.save({"state_dict": STATE, "args": evil}, tmp_path / "evil.pth", _use_new_zipfile_serialization=new)
    with pytest.raises(UserError, match="evil.pth: refused, since it is not a plain state dict") as caught:
        read_state(tmp_path / "evil.pth")
    assert not owned.exists()
    assert "\n" not in str(caught.value) and "save its weights alone: torch.save(" in str(caught.value)


def test_a_whole_network_is_refused(tmp_path: Path) -> None:
    torch.save(network(), tmp_path / "net.pth")
    with pytest.raises(UserError, match="but an object of torch.nn.modules.container.Sequential; where you trust it"):
        read_state(tmp_path / "net.pth")


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ([1, 2], "holds no state dict .but a list"),
        ({1: torch.zeros(1)}, "holds no state dict"),
        ({"generator": STATE, "epoch": 1}, r"holds no state dict \(its keys: generator, epoch\)"),
        ({"epoch": 1}, r"holds no state dict \(its keys: epoch\)"),
    ],
    ids=str,
)
def test_files_without_a_state_dict(tmp_path: Path, held: object, message: str) -> None:
    torch.save(held, tmp_path / "net.pth")
    with pytest.raises(UserError, match=message):
        read_state(tmp_path / "net.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 cut off", b"\x80\x02"], ids=str)
def test_damaged_files(tmp_path: Path, suffix: str, content: bytes) -> None:
    file = tmp_path / f"net{suffix}"
    file.write_bytes(content)
    with pytest.raises(
        UserError, match=f"net{suffix}: (damaged or not a weights file|is not a weights file|refused)"
    ) as caught:
        read_state(file)
    assert "\n" not in str(caught.value)


def test_unreadable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match="net.pth: cannot be read .Permission denied"):
        read_state(tmp_path / "net.pth")


def message_of(tmp_path: Path, state: dict[str, Tensor]) -> str:
    save_file(state, tmp_path / "net.safetensors")
    with pytest.raises(UserError) as caught:
        fit(read_state(tmp_path / "net.safetensors"), STATE)
    return str(caught.value)


def test_differences_are_named(tmp_path: Path) -> None:
    renamed = {name.replace("1.", "one."): tensor for name, tensor in STATE.items()}
    assert message_of(tmp_path, prefixed("net.", renamed)).endswith(
        "they differ in 1.bias, 1.weight, one.bias and 1 more (the network wants 1.weight; "
        "the nearest names in the file are 0.weight (4, 3, 3, 3), one.weight (3, 4, 3, 3), 0.bias (4,))"
    )
    assert message_of(tmp_path, STATE | {"0.bias": torch.zeros(5)}).endswith(
        "they differ in 0.bias (0.bias is (5,) in the file, (4,) in the network)"
    )
    assert message_of(tmp_path, STATE | {"2.bias": torch.zeros(5)}).endswith(
        "they differ in 2.bias (the file has 2.bias; the nearest names in the network are "
        "1.bias (3,), 0.bias (4,), 1.weight (3, 4, 3, 3))"
    )


@pytest.mark.parametrize("kind", ["sparse", "quantized", "complex"])
def test_tensors_of_other_kinds_are_refused_without_a_warning(tmp_path: Path, kind: str, recwarn) -> None:
    strange = {
        "sparse": lambda one: one.to_sparse(),
        "quantized": lambda one: torch.quantize_per_tensor(one, 0.1, 0, torch.quint8),
        "complex": lambda one: one.to(torch.complex64),
    }[kind]
    torch.save({**STATE, "0.bias": strange(STATE["0.bias"])}, tmp_path / "net.pth")
    recwarn.clear()
    with pytest.raises(UserError, match=r"0\.bias is a sparse, nested, quantized or complex tensor"):
        read_state(tmp_path / "net.pth")
    assert not recwarn.list


def test_a_script_of_torch_is_refused_without_a_warning(tmp_path: Path, recwarn) -> None:
    torch.jit.save(torch.jit.script(network()), tmp_path / "net.pt")
    recwarn.clear()
    with pytest.raises(UserError, match="damaged or not a weights file .*TorchScript"):
        read_state(tmp_path / "net.pt")
    assert not recwarn.list
