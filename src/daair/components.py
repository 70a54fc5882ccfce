"""Config nodes with `_target_`: what they name, and how it is built."""

from __future__ import annotations

import functools
import gc
import importlib
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from daair.errors import suggestion

SPECIAL = frozenset({"_target_", "_partial_", "_convert_", "_recursive_"})
"""Keys of a node that Hydra's `instantiate` reads itself."""


def locate(path: str) -> Callable[..., Any]:
    """Return the object that a dotted path names.

    Raises:
        ImportError: no such module or attribute, or the module failed to import; the message says which.
    """
    if not isinstance(path, str) or not all(part.isidentifier() for part in path.split(".")):
        raise ImportError(f"{path!r} is not a dotted path such as package.module.Name")
    parts = path.split(".")
    module, depth = None, 0
    for used in range(1, len(parts) + 1):
        name = ".".join(parts[:used])
        try:
            module, depth = _import(name), used
        except Exception as error:
            # Not a module: perhaps an attribute of the last one. Anything else failed inside of a module that exists.
            if isinstance(error, ModuleNotFoundError) and module is not None and (error.name or "") == name:
                break
            text = error if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
            raise ImportError(f"cannot import {path}: {text}") from error
    found: Any = module
    for used in range(depth, len(parts)):
        if not hasattr(found, parts[used]):
            hint = suggestion(parts[used], dir(found))
            raise ImportError(f"cannot import {path}: {'.'.join(parts[:used])} has no {parts[used]}{hint}")
        found = getattr(found, parts[used])
    if not callable(found):
        raise ImportError(f"{path} is not a class or function")
    return found


def _import(name: str) -> types.ModuleType:
    """Import the module `name` without the garbage collector, which takes a second over what importing torch makes."""
    if name in sys.modules or not gc.isenabled():
        return importlib.import_module(name)
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.freeze()
        gc.enable()


def is_node(value: Any) -> bool:
    """Return whether `value` is a mapping with a `_target_`."""
    return isinstance(value, Mapping) and "_target_" in value


def nodes(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield `value` if it is a node, and all nodes within."""
    if is_node(value):
        yield value
    for item in value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ():
        yield from nodes(item)


def is_foreign(node: Mapping[str, Any]) -> bool:
    """Return whether the node's target lies outside the package `daair`."""
    return not _in_daair(str(node.get("_target_", "")))


def build(node: Mapping[str, Any], **supplied: Any) -> Any:
    """Return the object that a checked node describes.

    Args:
        node: `_target_`, and the arguments beside it.
        supplied: further arguments, which are not configuration.
    """
    from hydra.utils import instantiate

    prepared = _own_partials(node)
    if isinstance(prepared, functools.partial):
        return functools.partial(prepared, **supplied)
    return instantiate(prepared, _convert_="all", **supplied)


def _in_daair(path: str) -> bool:
    return path.partition(".")[0] == __name__.partition(".")[0]


def _own_partials(value: Any) -> Any:
    """Return `value` with our own `_partial_` nodes made into plain partial functions.

    Hydra's are checked against its policy of forbidden targets at each call, which takes longer (0.4 ms) than many a
    degradation of a training crop. Ours need no such check; all others still get it.
    """
    if is_node(value) and value.get("_partial_") and not is_foreign(value):
        target = locate(value["_target_"])
        arguments = {name: _own_partials(item) for name, item in value.items() if name not in SPECIAL}
        # By where it was defined: `daair.files.os.remove` is not ours.
        if _in_daair(target.__module__) and not any(nodes(arguments)):
            return functools.partial(target, **arguments)
    if isinstance(value, Mapping):
        return {name: _own_partials(item) for name, item in value.items()}
    return [_own_partials(item) for item in value] if isinstance(value, list | tuple) else value
