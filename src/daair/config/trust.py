"""Whose classes a config may name: those of the user's own command are trusted, those of a stored file are not.

What a user writes on the command line or in a config file of their own is trusted. A run's
folder may come from somebody else, so the worker builds from it what is ours and what its launcher trusts.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from daair.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from daair.config.schema import Config

STANDARD = ("torch.optim.", "timm.optim.", "timm.scheduler.")
"""Where optimizers and schedules of a stored config may come from without being trusted: they only compute."""

OWN_CLASSES = ("daair.models.", "daair.losses.", "daair.data.", *STANDARD)
OWN_FUNCTIONS = ("daair.data.degradations.", "daair.optim.", "daair.engine.train.", *STANDARD)
"""Our own parts. Other functions, such as those that write files, have no business in a stored config."""


def trusted_packages(config: Config) -> tuple[str, ...]:
    """Return the top-level packages whose classes the command with this config may build, besides `daair`.

    These are the packages that the config names in a `_target_` or in `trust`. Optimizers and schedules of torch and
    timm make nothing else of these packages trusted.
    """
    named = {target.partition(".")[0] for target in _targets(config) if not target.startswith(STANDARD)}
    return tuple(sorted({*named, *config.trust} - {"daair"}))


def refuse_untrusted(stored: Mapping[str, Any], trust: Sequence[str], source: Path) -> None:
    """Refuse a stored config that could run code which is neither ours nor trusted.

    Args:
        stored: The config, as it was read from a file.
        trust: Packages whose classes may be built.
        source: The file, for the message.

    Raises:
        UserError: The config names such code, or holds an interpolation, which could hide a name.
    """
    for target in _targets(stored):
        if not _is_trusted(target, trust):
            package = str(target).partition(".")[0]
            hint = "" if package == "daair" else f"; if you trust that package, add --trust {package}"
            raise UserError(f"{source}: refused, since it names {target!r}{hint}")
    if hidden := next(_interpolations(stored), None):
        raise UserError(f"{source}: refused, since it holds the interpolation {hidden!r}")


def _is_trusted(target: Any, trust: Sequence[str]) -> bool:
    """Return whether `target` lies in a trusted package, or is one of our own parts under its own name.

    The path of our own is resolved by one import and one attribute, so `daair.files.os.system` names nothing.
    """
    if not isinstance(target, str):
        return False
    if target.partition(".")[0] in trust:
        return True
    module, _, name = target.rpartition(".")
    if not target.startswith((*OWN_CLASSES, *OWN_FUNCTIONS)):
        return False
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return False
    return f"{getattr(found, '__module__', '')}.".startswith(OWN_CLASSES if isinstance(found, type) else OWN_FUNCTIONS)


def _targets(value: Any) -> Iterator[Any]:
    """Yield every `_target_` within `value`."""
    if isinstance(value, BaseModel):
        value = value.__dict__
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield value["_target_"]
        value = value.values()
    elif not isinstance(value, list | tuple):
        return
    for item in value:
        yield from _targets(item)


def _interpolations(value: Any) -> Iterator[str]:
    """Yield every text within `value` that OmegaConf would replace."""
    if isinstance(value, str):
        if "${" in value:
            yield value
        return
    for item in value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ():
        yield from _interpolations(item)
