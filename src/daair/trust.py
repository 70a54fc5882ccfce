"""What a stored config may name: a file of somebody else is data, and building what it names would run code.

What a user writes on a command line or in a config of their own is trusted. A checkpoint's model.json or a run's
config.yaml may come from anywhere, so it may only name our own parts and what lies in packages that the user trusts.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from daair.components import locate
from daair.errors import UserError


class Allowed(NamedTuple):
    """The places, as prefixes of dotted paths, whose parts may be named without being trusted.

    Attributes:
        classes: Where classes may be defined.
        functions: Where functions may be defined. Others, such as those that write files, have no business in a config.
    """

    classes: tuple[str, ...]
    functions: tuple[str, ...] = ()


STANDARD = ("torch.optim.", "timm.optim.", "timm.scheduler.")
"""Where optimizers and schedules may come from without being trusted: they only compute."""

NETWORKS = Allowed(classes=("daair.models.",))
"""What a checkpoint may name."""

PARTS = Allowed(
    classes=("daair.models.", "daair.losses.", "daair.data.", *STANDARD),
    functions=("daair.data.degradations.", "daair.optim.", "daair.engine.train.", *STANDARD),
)
"""What a run's config may name."""


def named_packages(config: Any) -> set[str]:
    """Return the top-level packages, beside ours, that a config of the user's own names in a `_target_`.

    A package that only passes on what another one defines stands there with that other one. Optimizers and schedules of
    torch and timm make nothing else of these packages trusted.
    """
    foreign = [target for target in targets(config) if not target.startswith(("daair.", *STANDARD))]
    homes = [_found(target)[1] for target in foreign]
    return {path.partition(".")[0] for path in (*foreign, *homes)} - {"daair", ""}


def refuse_untrusted(
    stored: Any, source: Path, allowed: Allowed, trust: Sequence[str] = (), hint: str = "trust=[{}]"
) -> None:
    """Refuse a stored config that could run code which is neither allowed nor trusted.

    Args:
        stored: The config, or a part of it, as it was read from a file.
        source: The file, for the message.
        allowed: What may be named without being trusted.
        trust: Packages whose classes and functions may be built.
        hint: How the user trusts the package that is put in place of `{}`.

    Raises:
        UserError: The config names such code, or holds an interpolation, which could hide a name.
    """
    for target in targets(stored):
        if not may_be_named(target, allowed, trust):
            package = target.partition(".")[0] if isinstance(target, str) else ""
            foreign = package.isidentifier() and package not in ("daair", *trust)
            how = f"; if you trust the code of that package, add {hint.format(package)}" if foreign else ""
            raise UserError(f"{source}: refused, since it names {target!r}, which is not trusted{how}")
    if hidden := next(_interpolations(stored), None):
        raise UserError(f"{source}: refused, since it holds the interpolation {hidden!r}")


def may_be_named(target: Any, allowed: Allowed, trust: Sequence[str] = ()) -> bool:
    """Return whether a stored `_target_` lies in an allowed place or a trusted package, and was defined in one.

    Nothing else is imported, and `daair.models.daair.torch.load` may not be named. Without trust, the name must stand
    in a module itself: it is no method, for example.
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
    """Return what a dotted path names, and the module that defines it with a dot behind; "" where that is unknown."""
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
    """Yield every text within `value` that OmegaConf would replace."""
    if isinstance(value, str):
        if "${" in value:
            yield value
        return
    for item in value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ():
        yield from _interpolations(item)
