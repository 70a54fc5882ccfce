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


def own_code(config: Mapping[str, Any]) -> dict[str, str]:
    """Return a digest of each package or module of the user's own that a config names, by its name.

    The first call in a process counts, so that it describes the code that was imported then. Packages that are
    installed into Python's own folders have a version instead and are left out; those installed by `pip install -e`
    are not.
    """
    # Nothing is imported here: a part of the config may come from a stored run whose code nobody has trusted.
    foreign = {str(target) for target in targets(config) if not str(target).startswith(("daair.", *STANDARD))}
    digests = {name: _digest(name) for name in sorted({target.partition(".")[0] for target in foreign})}
    return {name: digest for name, digest in digests.items() if digest}


def changed(noted_by: Callable[[], Mapping[str, Any]], now: Mapping[str, str]) -> list[str]:
    """Return the names of the packages whose digest differs from the one that a run noted, if that can be read.

    Args:
        noted_by: Reads what the run noted: its `Record.environment`.
        now: What `own_code` returns.
    """
    noted = None
    with suppress(UserError):  # a damaged environment.json
        noted = noted_by().get("own_code")
    return [name for name, digest in now.items() if isinstance(noted, Mapping) and noted.get(name, digest) != digest]


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
    installed = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib")}
    if spec.submodule_search_locations is None and spec.has_location:
        file = Path(spec.origin).resolve()
        if not installed & set(file.parents):
            yield file.name, file
    for top in map(Path, spec.submodule_search_locations or ()):
        if installed & {top.resolve(), *top.resolve().parents}:
            continue
        for folder, inside, names in os.walk(top):
            inside[:] = filter(str.isidentifier, inside)  # others are no packages: .venv, site-packages
            for file in (Path(folder, name) for name in names if name.endswith(".py")):
                yield file.relative_to(top).as_posix(), file
