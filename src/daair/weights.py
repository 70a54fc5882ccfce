"""Weights files as they are found in the wild: `.safetensors`, and what `torch.save` writes. No pickled code ever runs.

Pickles are read by `torch.load(weights_only=True)`. Checkpoints of trainers hold more than weights: their arguments,
hyper-parameters, callbacks. Nothing of that is needed, so nothing of it is imported: each class that a file names comes
out as an empty placeholder, each container of some library as a plain dictionary or list. A file that wants to call a
function is refused.
"""

import difflib
import functools
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from daair.errors import UserError, reason

NESTED = ("params_ema", "state_dict", "params", "model", "net", "weights")
"""Under what names files hold their state dict; the first of them that is there is taken."""


class State(NamedTuple):
    """What a weights file holds.

    Attributes:
        tensors: the entries by the names that the file gives them.
        notes: sentences about choices that the user may want to know of.
        path: the file, for messages.
    """

    tensors: dict[str, Tensor]
    notes: tuple[str, ...]
    path: Path


def read_state(path: str | Path) -> State:
    """Read the state dict of a weights file, whatever it is nested in.

    Raises:
        UserError: it cannot be read, is damaged, holds no state dict, or would have to run code.
    """
    path = Path(path)
    try:
        path.open("rb").close()  # safetensors takes a file without permission for one that is not there
        held = load_file(path) if path.suffix == ".safetensors" else _unpickle(path)
    except PermissionError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (SafetensorError, RuntimeError, OSError, EOFError) as error:
        raise UserError(f"{path}: damaged or not a weights file ({reason(error)})") from None
    except Exception as error:  # torch raises its pickle errors under several types
        raise UserError(
            f"{path}: refused, since it is not a plain state dict ({_cause(error)}); {_advice(path)}"
        ) from None
    notes = []
    while isinstance(held, Mapping):
        inside = [name for name in NESTED if isinstance(held.get(name), Mapping)]
        if not inside:
            break
        if inside[0] == "params_ema" and len(inside) > 1:
            notes.append(f"{path}: params_ema, the averaged weights, are taken, not {' or '.join(inside[1:])}")
        held = held[inside[0]]
    if isinstance(held, Placeholder):
        kind = f"{type(held).__module__}.{type(held).__name__}"
        raise UserError(f"{path}: refused, since it is not a plain state dict but an object of {kind}; {_advice(path)}")
    if not isinstance(held, Mapping) or not all(isinstance(name, str) for name in held):
        raise UserError(f"{path}: holds no state dict (but a {type(held).__name__})")
    tensors = {name: value for name, value in held.items() if isinstance(value, Tensor)}
    others = [name for name in held if name not in tensors]
    if others and (not tensors or any(isinstance(held[name], Mapping) for name in others)):
        raise UserError(f"{path}: holds no state dict (its keys: {', '.join(list(held)[:5])})")
    if others:
        notes.append(f"{path}: left out what is no tensor: {_listed(others)}")
    return State(tensors, tuple(notes), path)


def fit(
    state: State,
    expected: Mapping[str, Tensor],
    convert: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict,
    strict: bool = True,
) -> tuple[dict[str, Tensor], list[str]]:
    """Give the entries of a file the names of a network, or say why they do not fit.

    Args:
        state: what the file holds.
        expected: the state dict of the network.
        convert: renames entries of the authors' checkpoints, and returns others as they are.
        strict: whether all names and shapes must fit; else those that fit are taken.

    Returns:
        The entries that fit, and sentences about those that do not.

    Raises:
        UserError: names or shapes that differ (any, or all of them), with what the file has and the network wants.
    """
    attempts = []
    for tensors in _unwrapped(state.tensors):
        renamed = dict(convert(tensors))
        if renamed.keys() == expected.keys():
            break
        attempts.append(renamed)
    else:
        renamed = max(attempts, key=lambda names: len(names.keys() & expected.keys()))
    reshaped = [name for name in expected if name in renamed and renamed[name].shape != expected[name].shape]
    wrong = sorted(expected.keys() ^ renamed.keys()) + reshaped
    fitting = {name: value for name, value in renamed.items() if name not in wrong}
    if wrong and (strict or not fitting):
        text = f"{state.path}: weights of another network than the config describes; they differ in {_listed(wrong)}"
        raise UserError(f"{text} ({_difference(renamed, expected, reshaped)})")
    return fitting, [f"{state.path}: does not fit: {_listed(sorted(wrong))}"] if wrong else []


class Placeholder:
    """Stands for an object of a class that a file names; takes whatever it is made of and keeps nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "Placeholder":
        """Make an empty object."""
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Ignore the arguments."""

    def __setstate__(self, state: Any) -> None:
        """Ignore the attributes."""


def _dictionary(*args: Any) -> OrderedDict:
    return OrderedDict()


def _list(*args: Any) -> list:
    return []


@functools.cache
def _placeholder(name: str) -> type[Placeholder]:
    module, _, last = name.rpartition(".")
    return type(last, (Placeholder,), {"__module__": module})


_KNOWN = [
    *("argparse.Namespace", "types.SimpleNamespace", "numpy.dtype", "numpy.ndarray", "copy_reg._reconstructor"),
    *(
        "numpy.core.multiarray.scalar",
        "numpy.core.multiarray._reconstruct",
        "functools.partial",
        "copyreg._reconstructor",
    ),
    *(
        "numpy._core.multiarray.scalar",
        "numpy._core.multiarray._reconstruct",
        "datetime.datetime",
        "datetime.timedelta",
    ),
    *(f"builtins.{name}" for name in ("object", "dict", "list", "tuple", "int", "float", "str", "bool", "bytes")),
    *("pathlib.Path", "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib.PurePosixPath"),
    *(f"omegaconf.{name}" for name in ("dictconfig.DictConfig", "listconfig.ListConfig", "nodes.AnyNode")),
    *("omegaconf.base.Metadata", "omegaconf.base.ContainerMetadata", "typing.Any", "uuid.UUID"),
]
"""Classes, and functions that make plain values, for which a placeholder stands in files of the old format too."""

_DICTIONARIES = {"AttributeDict", "AttrDict", "CfgNode", "ConfigDict", "DotDict", "EasyDict", "Munch"}
"""Names of classes that libraries derive from dict."""


def _unpickle(path: Path) -> Any:
    """Load what `torch.save` wrote, with placeholders for all classes that are not torch's own."""
    allowed: dict[str, Any] = {name: _placeholder(name) for name in _KNOWN}
    allowed |= {"collections.defaultdict": _dictionary, "collections.deque": _list}
    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # torch's old format, or no file of torch at all: `torch.load` says which
        named = []
    for name in named:
        last = name.rpartition(".")[2]
        if last in _DICTIONARIES:
            allowed[name] = OrderedDict
        elif last[:1].isupper():  # a class; what begins with a small letter is a function and stays refused
            allowed.setdefault(name, _placeholder(name))
    with warnings.catch_warnings(), torch.serialization.safe_globals([(kind, name) for name, kind in allowed.items()]):
        warnings.simplefilter("ignore")  # about pickle protocols
        return torch.load(path, map_location="cpu", weights_only=True)


def _cause(error: Exception) -> str:
    """Return what of a file was refused, from torch's long message."""
    for sign in ("GLOBAL ", "Unsupported class "):
        if sign in str(error):
            return f"it names {str(error).split(sign)[1].split()[0]}"
    return type(error).__name__


def _advice(path: Path) -> str:
    """Return how to make a plain file of one that cannot be read."""
    return (
        "where you trust it, save its weights alone: "
        f"torch.save(torch.load('{path.name}', weights_only=False)['state_dict'], 'plain.pth'), "
        "or .state_dict() of a whole network"
    )


def _unwrapped(tensors: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Yield the entries as they are, then without one wrapper after the other before all of their names.

    Wrappers are DataParallel (`module.`), torch.compile (`_orig_mod.`), classes of trainers (`net.`, `model.`, ...).
    """
    yield tensors
    tensors = {name.replace("_orig_mod.", ""): value for name, value in tensors.items() if name != "n_averaged"}
    while tensors:
        yield tensors
        first, dot, _ = next(iter(tensors)).partition(".")
        if not dot or not all(name.startswith(f"{first}.") for name in tensors):
            return
        tensors = {name.removeprefix(f"{first}."): value for name, value in tensors.items()}


def _difference(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], reshaped: list[str]) -> str:
    """Describe the first difference: a missing name, a shape, or a name too many."""
    missing = [name for name in expected if name not in found]
    if missing and found:
        return f"the network wants {missing[0]}; the nearest names in the file are {_nearest(missing[0], found)}"
    if missing:
        return f"the network wants {missing[0]}, the file is empty"
    if reshaped:
        name = reshaped[0]
        return f"{name} is {tuple(found[name].shape)} in the file, {tuple(expected[name].shape)} in the network"
    extra = next(name for name in found if name not in expected)
    return f"the file has {extra}; the nearest names in the network are {_nearest(extra, expected)}"


def _nearest(name: str, candidates: Mapping[str, Tensor]) -> str:
    close = difflib.get_close_matches(name, candidates, n=3, cutoff=0.0)
    return ", ".join(f"{other} {tuple(candidates[other].shape)}" for other in close) or "none"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
