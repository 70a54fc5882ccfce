"""Read weights from `.safetensors` files and from files written by `torch.save`, without running pickled code.

Pickles are read by `torch.load(weights_only=True)`. Many checkpoints also hold arguments, hyper-parameters or
callbacks. The classes of these objects are not imported: each object becomes an empty placeholder, each container class
of another library a plain dictionary or list. A file that calls any other function is refused.
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
"""Keys under which checkpoints store their state dict; the first key found is used."""


STARTS = (b"PK", *(b"\x80" + bytes([protocol]) for protocol in range(2, 6)))
"""The first two bytes of a file of `torch.save`: those of a zip archive, or of a pickle as it was written before."""


class State(NamedTuple):
    """The state dict of a weights file.

    Attributes:
        tensors: The tensors by their names in the file.
        notes: Sentences for the user about choices made while reading.
        path: The file, for messages.
    """

    tensors: dict[str, Tensor]
    notes: tuple[str, ...]
    path: Path


def read_state(path: str | Path) -> State:
    """Read the state dict of a weights file, also where it is nested under the keys of `NESTED`.

    Raises:
        UserError: The file cannot be read, is damaged, holds no state dict, or would need code to run.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: is no file")  # a pipe would be waited for
    try:
        with path.open("rb") as file:  # safetensors reports a file without read permission as missing
            begin = file.read(2)
        if path.suffix != ".safetensors" and begin not in STARTS:
            raise UserError(f"{path}: is not a weights file (it was written neither by safetensors nor by torch.save)")
        held = load_file(path) if path.suffix == ".safetensors" else _unpickle(path)
    except UserError:
        raise
    except PermissionError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (SafetensorError, RuntimeError, OSError, EOFError) as error:
        raise UserError(f"{path}: damaged or not a weights file ({reason(error)})") from None
    except Exception as error:  # torch raises errors of several types for a bad pickle
        raise UserError(
            f"{path}: refused, since it is not a plain state dict ({_cause(error)}); {_advice(path)}"
        ) from None
    notes = []
    while isinstance(held, Mapping):
        inside = [name for name in NESTED if isinstance(held.get(name), Mapping)]
        if not inside:
            break
        if inside[0] == "params_ema" and len(inside) > 1:
            notes.append(f"{path}: uses params_ema, the averaged weights, not {' or '.join(inside[1:])}")
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
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_complex() or tensor.is_quantized or tensor.is_nested:
            raise UserError(f"{path}: {name} is a sparse, nested, quantized or complex tensor; save plain numbers")
    if others:
        notes.append(f"{path}: ignored entries that are not tensors: {_listed(others)}")
    return State(tensors, tuple(notes), path)


def fit(
    state: State,
    expected: Mapping[str, Tensor],
    convert: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict,
    strict: bool = True,
) -> tuple[dict[str, Tensor], list[str]]:
    """Match the tensors of a file with the parameters of a network by name and shape.

    Args:
        convert: A function that translates the names of the authors' checkpoints and leaves other names unchanged.
        strict: Whether all names and shapes must match; otherwise the matching tensors are returned.

    Returns:
        The matching tensors under the network's names, and sentences about the others.

    Raises:
        UserError: With `strict` a name or shape differs, without it none matches; the message shows the first.
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
    whole = [n for n in fitting if expected[n].is_floating_point() and not fitting[n].is_floating_point()]
    if whole:
        text = f"{whole[0]} is {str(fitting[whole[0]].dtype).removeprefix('torch.')}, where the network has fractions"
        raise UserError(f"{state.path}: {text}; quantized weights cannot be used")
    if wrong and (strict or not fitting):
        text = f"{state.path}: weights of another network than the config describes; they differ in {_listed(wrong)}"
        raise UserError(f"{text} ({_difference(renamed, expected, reshaped)})")
    return fitting, [f"{state.path}: does not fit: {_listed(sorted(wrong))}"] if wrong else []


class Placeholder:
    """An empty object in place of one whose class is not imported; arguments and attributes are ignored."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "Placeholder":
        """Return an empty object."""
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
"""Classes, and functions that make plain values, that become placeholders also in files of torch's old format."""

_DICTIONARIES = {"AttributeDict", "AttrDict", "CfgNode", "ConfigDict", "DotDict", "EasyDict", "Munch"}
"""Names of classes that other libraries derive from dict."""


def _unpickle(path: Path) -> Any:
    """Load a file written by `torch.save`, with placeholders for all classes that are not torch's own."""
    allowed: dict[str, Any] = {name: _placeholder(name) for name in _KNOWN}
    allowed |= {"collections.defaultdict": _dictionary, "collections.deque": _list}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about kinds of files that are refused below
        try:
            named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        except Exception:  # torch's old format, or not a file of torch; `torch.load` reports the latter
            named = []
    for name in named:
        last = name.rpartition(".")[2]
        if last in _DICTIONARIES:
            allowed[name] = OrderedDict
        elif last[:1].isupper():  # a class; a name in lower case is a function, which stays refused
            allowed.setdefault(name, _placeholder(name))
    with warnings.catch_warnings(), torch.serialization.safe_globals([(kind, name) for name, kind in allowed.items()]):
        warnings.simplefilter("ignore")  # about pickle protocols
        return torch.load(path, map_location="cpu", weights_only=True)


def _cause(error: Exception) -> str:
    """Return the refused name, taken from torch's long message."""
    for sign in ("GLOBAL ", "Unsupported class "):
        if sign in str(error):
            return f"it names {str(error).split(sign)[1].split()[0]}"
    return type(error).__name__


def _advice(path: Path) -> str:
    """Return advice on how to save the weights of a refused file alone."""
    return (
        "where you trust it, save its weights alone: "
        f"torch.save(torch.load('{path.name}', weights_only=False)['state_dict'], 'plain.pth'), "
        "or .state_dict() of a whole network"
    )


def _unwrapped(tensors: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Yield the tensors as they are, then repeatedly without the first prefix that all names share.

    Such prefixes come from DataParallel (`module.`), torch.compile (`_orig_mod.`) and trainers (`net.`, `model.`).
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
    """Describe the first difference: a missing name, a wrong shape, or an unexpected name."""
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
