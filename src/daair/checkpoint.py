"""Trained networks as files: weights in safetensors, the config that rebuilds the network beside them as JSON.

Somebody else's checkpoint is data, never code: the stored config may only name classes of `daair.models` and of the
packages that the user trusts, and no pickle is loaded. State dicts of networks that the user names with
`model._target_` may be PyTorch files; they go through `torch.load(weights_only=True)`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from daair import components
from daair.errors import UserError, reason
from daair.files import replacing, write_text
from daair.trust import NETWORKS, refuse_untrusted
from daair.weights import fit, read_state

WEIGHTS = "model.safetensors"


def build(config: Mapping[str, Any]) -> nn.Module:
    """Build the network of a `model` config that the user's own command names, so any target may stand there.

    Raises:
        UserError: the target cannot be built with these arguments.
    """
    from hydra.errors import InstantiationException

    try:
        model = components.build(config)
    except InstantiationException as error:
        cause = error.__cause__ or error
        text = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        raise UserError(text if isinstance(cause, ValueError) else f"model._target_: {text}") from error
    if not isinstance(model, nn.Module):
        raise UserError(f"model._target_: {config['_target_']} makes a {type(model).__name__}, not a torch.nn.Module")
    return model


def needs_weights(config: Mapping[str, Any]) -> bool:
    """Return whether the network of a `model` config has anything to load, unlike `model=identity`; builds it.

    Raises:
        UserError: the target cannot be built with these arguments.
    """
    with torch.device("cpu" if components.is_foreign(config) else "meta"):
        return bool(build(config).state_dict())


def save(folder: Path, model: nn.Module, config: Mapping[str, Any], labels: list[str], step: int) -> Path:
    """Write `model.safetensors` and `model.json` into `folder`, atomically; returns the weights' path.

    Args:
        folder: a run folder.
        model: the network.
        config: its `model` config, resolved.
        labels: names of the degradation labels, in the order of their numbers.
        step: optimizer updates so far.
    """
    described = {"model": dict(config), "labels": labels, "step": step}
    write_text(folder / "model.json", json.dumps(described, indent=2) + "\n")
    with replacing(folder / WEIGHTS) as temporary:
        save_file(plain_state(model), temporary, metadata={"format": "pt"})  # one entry: their order is random
    return folder / WEIGHTS


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the state dict as safetensors takes it: contiguous, on the CPU, no memory under two names."""
    state = model.state_dict()
    return {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}


def load(path: str | Path, device: str | torch.device = "cpu", trust: Sequence[str] = ()) -> nn.Module:
    """Load a trained network, ready to restore images.

    Args:
        path: a run folder, or a `.safetensors` file with its `model.json` in the same folder.
        device: where to put it.
        trust: packages beside daair whose classes the files may name; their code runs.

    Returns:
        The network in evaluation mode: images (B, 3, H, W) in [0, 1] -> images of the same shape and dtype. Its
        attribute `labels` holds the names of the degradations it was trained on, `step` its number of updates.

    Raises:
        UserError: nothing there, damaged files, weights of another network, or a config that names other code.
    """
    trust = (trust,) if isinstance(trust, str) else tuple(trust)
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
    refuse_untrusted(config, description, NETWORKS, trust)
    try:
        model = build(config)
    except Exception as error:  # a file may say anything
        raise UserError(f"{description}: describes no network ({reason(error)})") from error
    load_weights(model, weights)
    model.labels, model.step = labels, stored.get("step")
    return model.to(device).eval()


def find_weights(path: str | Path, key: str = "checkpoint") -> Path:
    """Return the weights file of a run folder, or `path` itself if it is a file.

    Args:
        path: a folder or a file.
        key: the config key that names it, for messages.

    Raises:
        UserError: there is none.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{key}: {path} does not exist; give a run folder or a .safetensors file")
    if path.is_dir():
        path = path / WEIGHTS
        if not path.is_file():
            seeds = sorted(file.parent for file in path.parent.glob(f"seed*/{WEIGHTS}"))
            hint = f"did you mean {seeds[0]}?" if seeds else "is it a run folder that saved a checkpoint?"
            raise UserError(f"{key}: {path.parent} holds no {WEIGHTS}; {hint}")
    return path


def describes_network(path: str | Path) -> bool:
    """Return whether a checkpoint brings its own network: a run's folder does, and a file beside its model.json."""
    path = Path(path)
    return not path.is_file() or (path.suffix == ".safetensors" and (path.parent / "model.json").is_file())


def load_weights(model: nn.Module, path: Path, strict: bool = True) -> list[str]:
    """Load a state dict into `model`, under the names used here or those of the network's authors.

    Args:
        model: the network.
        path: of a safetensors file, or of a PyTorch file.
        strict: whether all names and shapes must fit; else those that fit are taken.

    Returns:
        What the user may want to know, in sentences: which of several state dicts was taken, what was left out.

    Raises:
        UserError: damaged file, or names and shapes that do not fit (any, or all of them); names the first ones.
    """
    state, expected = read_state(path), model.state_dict()
    convert = getattr(model, "from_published", dict)  # the authors' names, where known
    fitting, notes = fit(state, expected, convert, strict)
    model.load_state_dict({**expected, **fitting})
    return [*state.notes, *notes]
