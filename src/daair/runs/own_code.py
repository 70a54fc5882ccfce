"""Tell versions of the user's own code apart: a config names a class, but not what is written in it.

A class that was edited has the same name, so a run of it has the same config id. Runs therefore record a digest of the
packages that their config names besides those of this project and its dependencies; a sweep and a table say where it
differs.
"""

import hashlib
import importlib.util
import os
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from daair.errors import UserError
from daair.trust import STANDARD, targets

DIGITS = 8

STDLIB = Path(sysconfig.get_path("stdlib")).resolve()


def own_code(config: Mapping[str, Any]) -> dict[str, str]:
    """Return a digest of each package or module of the user's own that a config names, by its name.

    The first call in a process counts, so that it describes the code that was imported then. Packages that are
    installed into a folder named `site-packages` or `dist-packages`, or are Python's own, have a version instead and
    are left out; those installed by `pip install -e` are not.
    """
    # Nothing is imported here: a part of the config may come from a stored run whose code nobody has trusted.
    foreign = {str(target) for target in targets(config) if not str(target).startswith(("daair.", *STANDARD))}
    digests = {name: _digest(name) for name in sorted({target.partition(".")[0] for target in foreign})}
    return {name: digest for name, digest in digests.items() if digest}


def noted(environment: Callable[[], Mapping[str, Any]]) -> dict[str, str]:
    """Return the digests that a run noted; nothing if they cannot be read.

    Args:
        environment: Reads what the run noted about its surroundings: its `Record.environment`.
    """
    found = None
    with suppress(UserError):  # a damaged environment.json
        found = environment().get("own_code")
    return {name: str(digest) for name, digest in found.items()} if isinstance(found, Mapping) else {}


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the names of the packages whose digest differs from the one that a run noted."""
    return [name for name, digest in now.items() if before.get(name, digest) != digest]


def joined(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Return the digests of a run that goes on with code that may have changed: `first+second` where it has."""
    parts = {name: dict.fromkeys([*before.get(name, digest).split("+"), digest]) for name, digest in now.items()}
    return {name: "+".join(digests) for name, digests in parts.items()}


@cache
def _digest(package: str) -> str | None:
    digest, files = hashlib.sha256(), sorted(_files(package))
    for name, file in files:
        digest.update(f"{name}\0".encode(errors="surrogateescape"))
        with suppress(OSError):  # what cannot be read has not been imported
            digest.update(file.read_bytes())
    return digest.hexdigest()[:DIGITS] if files else None


def _files(package: str) -> Iterator[tuple[str, Path]]:
    """Yield the Python files of a package, or the one of a module, with their names within it."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return
    if spec is None:
        return
    if spec.submodule_search_locations is None and spec.has_location:
        file = Path(spec.origin).resolve()
        if not _installed(file):
            yield file.name, file
    for top in map(Path, spec.submodule_search_locations or ()):
        if _installed(top.resolve()):
            continue
        for folder, inside, names in os.walk(top):
            inside[:] = filter(str.isidentifier, inside)  # others are no packages: .venv, site-packages
            for file in (Path(folder, name) for name in names if name.endswith(".py") and name[:-3].isidentifier()):
                yield file.relative_to(top).as_posix(), file  # an editor's lock, .#net.py, cannot be imported


def _installed(path: Path) -> bool:
    """Say whether a resolved path lies in a folder of installed packages, of this environment or another one."""
    return bool({"site-packages", "dist-packages"} & set(path.parts)) or path.is_relative_to(STDLIB)
