"""Refuse stored configs that name code which the user does not trust.

The user's own command line and configs are trusted. A checkpoint's model.json or a run's config.yaml may come from
another user, and building what it names runs code. So it may only name parts of daair and of packages that the user
trusts.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from daair.components import locate
from daair.errors import UserError


class Allowed(NamedTuple):
    """Prefixes of dotted paths that a stored config may name without being trusted.

    Attributes:
        classes: Prefixes of the modules of classes.
        functions: Prefixes of the modules of functions; they exclude functions that write files, for example.
    """

    classes: tuple[str, ...]
    functions: tuple[str, ...] = ()


STANDARD = ("torch.optim.", "timm.optim.", "timm.scheduler.")
"""Packages of optimizers and schedules, which need no trust because they only compute."""

NETWORKS = Allowed(classes=("daair.models.",))
"""The code that a checkpoint may name."""

PARTS = Allowed(
    classes=("daair.models.", "daair.losses.", "daair.data.", *STANDARD),
    functions=("daair.data.degradations.", "daair.optim.", "daair.engine.train.", *STANDARD),
)
"""The code that a run's config may name."""


def named_packages(config: Any) -> set[str]:
    """Return the top-level packages, besides daair, that the `_target_` keys of a user's own config name.

    If a package re-exports a class of another one, both are returned. Optimizers and schedules of torch and timm do not
    make these packages trusted.
    """
    foreign = [target for target in targets(config) if not target.startswith(("daair.", *STANDARD))]
    homes = [_found(target)[1] for target in foreign]
    return {path.partition(".")[0] for path in (*foreign, *homes)} - {"daair", ""}


def refuse_untrusted(
    stored: Any, source: Path, allowed: Allowed, trust: Sequence[str] = (), hint: str = "trust=[{}]"
) -> None:
    """Refuse a stored config that could run code which is neither allowed nor trusted.

    Args:
        stored: The config or a part of it, as read from a file.
        allowed: The code that may be named without being trusted.
        trust: Packages whose classes and functions may be built.
        hint: The argument with which the user trusts a package, whose name replaces `{}`.

    Raises:
        UserError: The config names such code, or contains an interpolation, which could hide a name.
    """
    for target in targets(stored):
        if not may_be_named(target, allowed, trust):
            package = target.partition(".")[0] if isinstance(target, str) else ""
            foreign = package.isidentifier() and package not in ("daair", *trust, *sys.stdlib_module_names)
            how = f"; if you trust the code of that package, add {hint.format(package)}" if foreign else ""
            raise UserError(f"{source}: refused, since it names {target!r}, which is not trusted{how}")
    if hidden := next(_interpolations(stored), None):
        raise UserError(f"{source}: refused, since it holds the interpolation {hidden!r}")


def may_be_named(target: Any, allowed: Allowed, trust: Sequence[str] = ()) -> bool:
    """Return whether a stored `_target_` has an allowed or trusted prefix and is also defined under such a prefix.

    The second condition excludes `daair.models.daair.torch.load`. Targets without such a prefix are not imported.
    Without trust, the target must be an attribute of a module, not a method, for example.
    """
    trusted = tuple(f"{package}." for package in trust)
    if not isinstance(target, str) or not target.startswith((*allowed.classes, *allowed.functions, *trusted)):
        return False
    found, home = _found(target)
    if home.startswith(trusted):
        return True
    in_module = target.rpartition(".")[0] in sys.modules
    return in_module and home.startswith(allowed.classes if isinstance(found, type) else allowed.functions)


def _found(target: str) -> tuple[Any, str]:
    """Return the object that a dotted path names, and its defining module with a final dot; "" if unknown."""
    try:
        found = locate(target)
    except ImportError:
        return None, ""
    home = getattr(found, "__module__", None)
    return found, f"{home}." if home else ""


def targets(value: Any) -> Iterator[Any]:
    """Yield every `_target_` within `value`."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield value["_target_"]
        value = value.values()
    elif not isinstance(value, list | tuple):
        return
    for item in value:
        yield from targets(item)


def _interpolations(value: Any) -> Iterator[str]:
    """Yield every text within `value` that contains an interpolation of OmegaConf."""
    if isinstance(value, str):
        if "${" in value:
            yield value
        return
    for item in value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ():
        yield from _interpolations(item)
