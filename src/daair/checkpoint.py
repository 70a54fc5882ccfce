"""Trained networks as files: weights in safetensors, the config that rebuilds the network beside them as JSON.

Somebody else's checkpoint is data, never code: the stored config may only name classes of `daair.models`, and no pickle
is loaded. (State dicts of foreign networks, which the user names with `model._target_`, may be PyTorch files; they go
through `torch.load(weights_only=True)`.)
"""

import importlib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from daair import components
from daair.errors import UserError, reason
from daair.files import replacing, write_text
from daair.models.daair import Restored
from daair.weights import fit, read_state

WEIGHTS = "model.safetensors"
TRUSTED = "daair.models."


def build(config: Mapping[str, Any]) -> nn.Module:
    """Build the network of a `model` config.

    The config is the user's own here, so any target may be named. A network that only maps images to images comes
    inside a `Foreign`, so that all of them can be called alike.

    Raises:
        UserError: the target cannot be built with these arguments.
    """
    from hydra.errors import InstantiationException

    foreign = components.is_foreign(config)
    try:
        model = components.build(config)
    except InstantiationException as error:
        cause = error.__cause__ or error
        text = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        raise UserError(text if isinstance(cause, ValueError) else f"model._target_: {text}") from error
    if not isinstance(model, nn.Module):
        raise UserError(f"model._target_: {config['_target_']} makes a {type(model).__name__}, not a torch.nn.Module")
    routed = not foreign and "with_routing" in inspect.signature(model.forward).parameters
    return model if routed else Foreign(model)


def needs_weights(config: Mapping[str, Any]) -> bool:
    """Return whether the network of a `model` config has anything to load, unlike `model=identity`; builds it.

    Raises:
        UserError: the target cannot be built with these arguments.
    """
    with torch.device("cpu" if components.is_foreign(config) else "meta"):
        return bool(build(config).state_dict())


class Foreign(nn.Module):
    """Gives a network that only maps images to images the interface of DaAIR: labels are ignored, nothing is routed.

    Weights files hold the network's own names, without the wrapper's.

    Args:
        net: maps images (B, 3, H, W) in [0, 1] to images of the same shape.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, labels: Tensor | None = None, with_routing: bool = False) -> Tensor | Restored:
        """Restore `x` (B, 3, H, W).

        Raises:
            UserError: the network returns something else than images.
        """
        image = self.net(x)
        if not isinstance(image, Tensor):
            raise UserError(f"model: {type(self.net).__name__} returns a {type(image).__name__} instead of images")
        if not with_routing:
            return image
        return Restored(image, x.new_zeros((0, x.shape[0], 0), dtype=torch.float32), x.new_zeros(()).float())

    def update_control(self) -> None:
        """There is no controller."""


def save(folder: Path, model: nn.Module, config: Mapping[str, Any], labels: list[str], step: int) -> Path:
    """Write `model.safetensors` and `model.json` into `folder`, atomically; returns the weights' path.

    Args:
        folder: a run folder.
        model: the network itself, not wrapped.
        config: its `model` config, resolved.
        labels: names of the degradation labels, in the order of their numbers.
        step: optimizer updates so far.
    """
    described = {"model": dict(config), "labels": labels, "step": step}
    write_text(folder / "model.json", json.dumps(described, indent=2) + "\n")
    with replacing(folder / WEIGHTS) as temporary:
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in _inner(model).state_dict().items()}
        save_file(weights, temporary, metadata={"format": "pt"})  # one entry: their order is random
    return folder / WEIGHTS


def load(path: str | Path, device: str | torch.device = "cpu") -> nn.Module:
    """Load a trained DaAIR network, ready to restore images.

    Args:
        path: a run folder, or a `.safetensors` file with its `model.json` in the same folder.
        device: where to put it.

    Returns:
        The network in evaluation mode: images (B, 3, H, W) in [0, 1] -> images of the same shape and dtype. Its
        attribute `labels` holds the names of the degradations it was trained on, `step` its number of updates.

    Raises:
        UserError: nothing there, damaged files, weights of another network, or a config that names foreign code.
    """
    weights = find_weights(path)
    description = weights.parent / "model.json"
    if weights.suffix != ".safetensors":
        raise UserError(
            f"{weights}: not a .safetensors file; for a network of your own give its class too: "
            "model=custom model._target_=my.module.Net"
        )
    try:
        stored = json.loads(description.read_text())
        config, labels = stored["model"], list(stored.get("labels", []))
        if not isinstance(config, dict) or "_target_" not in config:
            raise TypeError("its model has no _target_")
    except FileNotFoundError:
        raise UserError(f"{description} is missing: it says which network the weights beside it belong to") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{description}: damaged or not written by daair ({error})") from None
    refuse_foreign(config, description)
    try:
        model = build(config)
    except Exception as error:  # a file may say anything
        raise UserError(f"{description}: describes no network ({reason(error)})") from error
    load_weights(model, weights)
    model.labels, model.step = labels, stored.get("step")
    return model.to(device).eval()


def find_weights(path: str | Path) -> Path:
    """Return the weights file of a run folder, or `path` itself if it is a file.

    Raises:
        UserError: there is none.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"checkpoint: {path} does not exist; give a run folder or a .safetensors file")
    if path.is_dir():
        path = path / WEIGHTS
        if not path.is_file():
            seeds = sorted(file.parent for file in path.parent.glob(f"seed*/{WEIGHTS}"))
            hint = f"did you mean {seeds[0]}?" if seeds else "is it a run folder that saved a checkpoint?"
            raise UserError(f"checkpoint: {path.parent} holds no {WEIGHTS}; {hint}")
    return path


def load_weights(model: nn.Module, path: Path) -> tuple[str, ...]:
    """Load a state dict into `model` (into the network inside a `Foreign`), strictly.

    Returns:
        What the user may want to know of the choices made, in sentences.

    Raises:
        UserError: damaged file, or keys and shapes that do not fit; names the first ones.
    """
    net, state = _inner(model), read_state(path)
    convert = getattr(net, "from_published", dict)  # the authors' names, where known
    net.load_state_dict(fit(state, net.state_dict(), convert))
    return state.notes


def refuse_foreign(config: Any, source: Path) -> None:
    """Raise unless every `_target_` in `config` is a class of `daair.models` and no value is an interpolation.

    The dotted path is resolved here by one import and one attribute, so that `daair.models.x.os.system` finds nothing.
    """
    if isinstance(config, Mapping):
        for key, value in config.items():
            if key == "_target_" and not is_ours(value):
                raise UserError(f"{source}: refused, since it names {value!r}, which is not a class of {TRUSTED[:-1]}")
            refuse_foreign(value, source)
    elif isinstance(config, list):
        for value in config:
            refuse_foreign(value, source)
    elif isinstance(config, str) and "${" in config:
        raise UserError(f"{source}: refused, since it holds the interpolation {config!r}")


def _inner(model: nn.Module) -> nn.Module:
    return model.net if isinstance(model, Foreign) else model


def is_ours(target: Any) -> bool:
    """Whether a stored `_target_` names a class of `daair.models`, so that a checkpoint with it can be loaded."""
    if not isinstance(target, str) or not target.startswith(TRUSTED):
        return False
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return False
    return isinstance(found, type) and found.__module__.startswith(TRUSTED)
