"""Find and build the targets of config nodes with `_target_`."""

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
"""Keys of a node that control Hydra's `instantiate` and are no arguments."""


def locate(path: str) -> Callable[..., Any]:
    """Return the class or function that a dotted path names.

    Raises:
        ImportError: There is no such module or attribute, it is not callable, or the module fails to import.
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
            # A missing module may be an attribute of the last one; other errors come from within a module.
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
    """Import a module without garbage collection, which takes a second during the import of torch."""
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
    """Yield `value` if it is a node, and all nodes within it."""
    if is_node(value):
        yield value
    for item in value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ():
        yield from nodes(item)


def is_foreign(node: Mapping[str, Any]) -> bool:
    """Return whether the node's target is outside the package `daair`."""
    return not _in_daair(str(node.get("_target_", "")))


def build(node: Mapping[str, Any], **supplied: Any) -> Any:
    """Return the object that a checked node describes.

    Args:
        node: A mapping with `_target_` and the arguments of the target.
        supplied: Further arguments that are not part of the config.
    """
    from hydra.utils import instantiate

    prepared = _own_partials(node)
    if isinstance(prepared, functools.partial):
        return functools.partial(prepared, **supplied)
    return instantiate(prepared, _convert_="all", **supplied)


def _in_daair(path: str) -> bool:
    return path.partition(".")[0] == __name__.partition(".")[0]


def _own_partials(value: Any) -> Any:
    """Return `value` with `_partial_` nodes of this package replaced by `functools.partial` objects.

    Hydra's partials check their target against a list of forbidden ones at each call, which takes 0.4 ms, longer than
    many degradations of a training crop. Targets of this package need no such check; all others keep it.
    """
    if is_node(value) and value.get("_partial_") and not is_foreign(value):
        target = locate(value["_target_"])
        arguments = {name: _own_partials(item) for name, item in value.items() if name not in SPECIAL}
        # The module of the definition counts: `daair.files.os.remove` is not ours.
        if _in_daair(target.__module__) and not any(nodes(arguments)):
            return functools.partial(target, **arguments)
    if isinstance(value, Mapping):
        return {name: _own_partials(item) for name, item in value.items()}
    return [_own_partials(item) for item in value] if isinstance(value, list | tuple) else value
