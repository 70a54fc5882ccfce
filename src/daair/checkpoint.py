"""Save and load trained networks: weights as safetensors, beside them the network's config as JSON.

Loading a checkpoint from another user runs none of its code: the stored config may only name classes of `daair.models`
and of packages that the user trusts, and pickles are read by `torch.load(weights_only=True)` only.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from daair import components, hub
from daair.errors import UserError, first_line, is_out_of_memory, reason, similar
from daair.files import replacing, write_text
from daair.trust import NETWORKS, refuse_untrusted
from daair.weights import fit, read_state

WEIGHTS = "model.safetensors"
SHIPPED = Path(__file__).with_name("shipped")  # trained networks that come along, each a folder with its card
DEFAULT = "daair_tiny"  # the one of them that task=restore takes when it is told none
AVERAGED = "averaged.safetensors"
"""The weights for use in a folder of a run's `checkpoints/`, where `WEIGHTS` are those that training goes on with."""

MOST_TENSORS = 20_000  # of a network; each takes time and a few kB beside its numbers


def build(config: Mapping[str, Any]) -> nn.Module:
    """Build the network of a trusted `model` config: its target may be any class.

    Raises:
        UserError: The target cannot be built with these arguments, or is not a network.
    """
    from hydra.errors import InstantiationException

    try:
        with _within_memory():
            model = components.build(config)
    except InstantiationException as error:
        cause = error.__cause__ or error
        if is_out_of_memory(cause) or "Overflow when unpacking" in str(cause):
            raise UserError("model: is too large for this machine's memory") from error
        text = first_line(cause)
        raise UserError(text if isinstance(cause, ValueError) else f"model._target_: {text}") from error
    if not isinstance(model, nn.Module):
        raise UserError(f"model._target_: {config['_target_']} makes a {type(model).__name__}, not a torch.nn.Module")
    return model


@contextlib.contextmanager
def _within_memory() -> Iterator[None]:
    """Stop the building of a network that cannot fit into this machine's memory, also on the meta device.

    Raises:
        ValueError: The weights and buffers take more than the memory, or are more tensors than `MOST_TENSORS`.
    """
    memory, numbers, tensors = psutil.virtual_memory().total, 0, 0

    def count(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        nonlocal numbers, tensors
        if tensor is not None:
            numbers, tensors = numbers + tensor.numel(), tensors + 1
        if 4 * numbers > memory or tensors > MOST_TENSORS:
            size = f"{4 * numbers / 1e9:.3g} GB of weights in {tensors} tensors"
            raise ValueError(f"model: has at least {size}, too large for this machine's memory ({memory / 1e9:.3g} GB)")

    with register_module_parameter_registration_hook(count), register_module_buffer_registration_hook(count):
        yield


def needs_weights(config: Mapping[str, Any]) -> bool:
    """Build the network of a `model` config and return whether it has weights, unlike `model=identity`.

    Raises:
        UserError: The target cannot be built with these arguments.
    """
    with torch.device("cpu" if components.is_foreign(config) else "meta"):
        return bool(build(config).state_dict())


def save(folder: Path, model: nn.Module, config: Mapping[str, Any], labels: list[str], step: int) -> Path:
    """Write `model.safetensors` and `model.json` into a run's folder, each atomically, and return the weights' path.

    Args:
        config: The network's resolved `model` config.
        labels: The names of the degradation labels, in the order of their numbers.
        step: The number of optimizer updates so far.
    """
    with replacing(folder / WEIGHTS) as temporary:  # one entry of metadata: safetensors writes several in random order
        save_file(plain_state(model), temporary, metadata={"format": "pt"})
    write_text(folder / "model.json", description(config, labels, step))  # last, since it says whose weights these are
    return folder / WEIGHTS


def description(config: Mapping[str, Any], labels: list[str], step: int) -> str:
    """Return the text of `model.json`; the arguments are those of `save`."""
    return json.dumps({"model": dict(config), "labels": labels, "step": step}, indent=2) + "\n"


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the state dict for safetensors: contiguous tensors on the CPU that share no memory."""
    state = model.state_dict()
    return {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}


def load(path: str | Path, device: str | torch.device = "cpu", trust: Sequence[str] = ()) -> nn.Module:
    """Load a trained network, ready to restore images; see `daair.load`."""
    trust = (trust,) if isinstance(trust, str) else tuple(trust)
    weights = find_weights(path)
    described = weights.parent / "model.json"
    if weights.suffix != ".safetensors":
        raise UserError(
            f"{weights}: not a .safetensors file; for a network of your own give its class too: "
            "model=custom model._target_=my.module.Net"
        )
    try:
        stored = json.loads(described.read_text())
        config, labels = stored["model"], stored.get("labels", [])
        if not isinstance(config, dict) or "_target_" not in config:
            raise TypeError("its model has no _target_")
        if not isinstance(labels, list) or not all(isinstance(label, str) and label.isprintable() for label in labels):
            raise TypeError("its labels are no list of names")
    except FileNotFoundError:
        raise UserError(f"{described} is missing: it says which network the weights beside it belong to") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{described}: damaged or not written by daair ({error})") from None
    refuse_untrusted(config, described, NETWORKS, trust)
    try:
        model = build(config)
    except Exception as error:  # the file's config may be wrong in any way
        raise UserError(f"{described}: describes no network ({reason(error)})") from error
    load_weights(model, weights)
    model.labels, model.step = labels, stored.get("step")
    try:
        return model.to(device).eval()
    except (RuntimeError, AssertionError, TypeError) as error:  # torch was built without it, or there is none
        raise UserError(f"device: {device} cannot be used here ({reason(error)})") from error


def locate(path: str | Path) -> Path:
    """Return the folder or file that the name of a checkpoint stands for, which need not exist.

    Args:
        path: A path; or the name of a network that comes along, unless the current directory has such a file; or
            `hf://OWNER/NAME`, which is downloaded.

    Raises:
        UserError: It cannot be downloaded.
    """
    if not isinstance(path, str | PathLike) or str(path) == "":
        raise UserError(f"{path!r} is no path of a checkpoint; give a run's folder or a weights file")
    if hub.is_address(path):
        return hub.download(str(path))
    comes_along = Path(path).name == str(path) and (SHIPPED / path / WEIGHTS).is_file()
    return SHIPPED / path if comes_along and not Path(path).exists() else Path(path)


def renumbered(weights: Path, labels: Sequence[str]) -> list[str]:
    """Return a warning if a network's `model.json` gives other numbers to degradations than `labels`, else nothing.

    Where the number of a degradation chooses its expert, such a network would restore it with that of another one.
    """
    try:
        stored = json.loads((weights.parent / "model.json").read_text())["labels"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    if not any(mine != other for mine, other in zip(labels, stored, strict=False)):
        return []
    theirs, ours = ", ".join(map(str, stored)), ", ".join(labels)
    keep = "a task that is not to be trained keeps its number with mix.tasks.NAME.weight=0"
    return [
        f"warning: train.init numbers the degradations {theirs}, this mix {ours}: experts change their task; {keep}"
    ]


def find_weights(path: str | Path, key: str = "checkpoint") -> Path:
    """Return the weights file of a run's folder or of one of its checkpoints, or `path` itself if it is a file.

    See `locate` for other names.

    Raises:
        UserError: There is no such file.
    """
    path = locate(path)
    if not path.exists():
        near = similar(str(path), [file.parent.name for file in SHIPPED.glob(f"*/{WEIGHTS}")], 0.8)
        otherwise = "give a run's folder or a weights file (.safetensors, .ckpt, .pth, .pt)"
        raise UserError(f"{key}: {path} does not exist; {f'did you mean {near}?' if near else otherwise}")
    if path.is_dir():
        path = path / (AVERAGED if (path / AVERAGED).is_file() else WEIGHTS)
        if not path.is_file():
            seeds = sorted(file.parent for file in path.parent.glob(f"seed*/{WEIGHTS}"))
            hint = f"did you mean {seeds[0]}?" if seeds else "is it a run folder that saved a checkpoint?"
            raise UserError(f"{key}: {path.parent} holds no {WEIGHTS}; {hint}")
    return path


def described_folder(path: str | Path) -> Path:
    """Return the folder with the weights and the description of a network that `load` would load.

    Raises:
        UserError: There are none, or the weights file has another name.
    """
    weights = find_weights(path)
    if weights.name != WEIGHTS or not (weights.parent / "model.json").is_file():
        raise UserError(f"{weights}: must be called {WEIGHTS} and have its model.json in the same folder")
    return weights.parent


def describes_network(path: str | Path) -> bool:
    """Return whether a checkpoint includes its network's config: a run's folder, or a file beside a model.json."""
    path = locate(path)
    return not path.is_file() or (path.suffix == ".safetensors" and (path.parent / "model.json").is_file())


def load_weights(model: nn.Module, path: Path, strict: bool = True) -> list[str]:
    """Load a state dict into `model`, with our parameter names or those of the network's authors.

    Args:
        strict: Whether all names and shapes must match; otherwise the matching tensors are loaded.

    Returns:
        Sentences for the user: which of several state dicts was used, and which tensors were left out.

    Raises:
        UserError: The file is damaged, or names or shapes differ (with `strict` any, else all); see `daair.weights`.
    """
    fitting, notes = fitting_weights(model, path, strict)
    model.load_state_dict({**model.state_dict(), **fitting})
    return notes


def fitting_weights(model: nn.Module, path: Path, strict: bool = True) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors that `load_weights` would load, and its sentences; the model may be on the meta device.

    Raises:
        UserError: As `load_weights`.
    """
    state, expected = read_state(path), model.state_dict()
    convert = getattr(model, "from_published", dict)  # translates the authors' names
    fitting, notes = fit(state, expected, convert, strict)
    return fitting, [*state.notes, *notes]
