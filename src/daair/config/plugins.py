"""Find installed packages that add options to the config groups.

A package declares itself by an entry point of the group `daair.plugins` in its pyproject.toml:

    [project.entry-points."daair.plugins"]
    mypkg = "mypkg"

Its folder `conf/`, laid out like ours, then adds options: `mypkg/conf/model/mynet.yaml` adds `model=mynet`.
"""

import importlib.util
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

from daair.errors import UserError

GROUP = "daair.plugins"


@cache
def conf_folders() -> dict[str, Path]:
    """Return the folder `conf/` of each installed plugin, by the plugin's package, without importing any plugin.

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
