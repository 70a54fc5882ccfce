"""Installed packages that add parts to the lab: their configs join ours by name.

A package names itself in an entry point of the group `daair.plugins`. In its pyproject.toml:

    [project.entry-points."daair.plugins"]
    mypkg = "mypkg"

Its folder `conf/`, laid out like ours, then adds options: `mypkg/conf/model/mynet.yaml` makes `model=mynet`.
"""

import importlib.util
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

from daair.errors import UserError

GROUP = "daair.plugins"


@cache
def conf_folders() -> dict[str, Path]:
    """Return the folder `conf/` of each installed plugin, by the plugin's package. No plugin is imported.

    Raises:
        UserError: A plugin names a package that cannot be found.
    """
    folders = {}
    for plugin in entry_points(group=GROUP):
        package = plugin.value.partition(":")[0].strip()
        spec = importlib.util.find_spec(package.partition(".")[0])
        if spec is None or not spec.submodule_search_locations:
            raise UserError(f"plugin {plugin.name}: there is no package {package}; install it again, or uninstall it")
        below = package.split(".")[1:]
        folders[package] = Path(next(iter(spec.submodule_search_locations)), *below, "conf")
    return dict(sorted(folders.items()))
