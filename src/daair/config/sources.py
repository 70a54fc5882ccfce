"""Parse each config file once per process, however many configs are composed of it.

Hydra reads and parses all files again whenever the options of groups differ, which is half of the time that composing
takes: a study of forty variants parses the same files forty times.
"""

from __future__ import annotations

import copy
import os

from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource

_PARSED: dict[tuple, ConfigResult] = {}
"""Parsed files by kind of source, provider, path and, for a file, the time of its last change and its size."""


class Remembered(ConfigSource):
    """A source of configs whose files are parsed again only after they have changed.

    Args:
        source: A folder, or a package whose files do not change while the program runs.
    """

    def __init__(self, source: ConfigSource) -> None:
        self.source, self.provider, self.path = source, source.provider, source.path

    @staticmethod
    def scheme() -> str:
        """Return no scheme, since Hydra does not look this source up."""
        return ""

    def load_config(self, config_path: str) -> ConfigResult:
        """Return a copy of the file's content, with its package header.

        Raises:
            ConfigLoadError: There is no such file.
        """
        file = os.path.join(self.path, self._normalize_file_name(config_path))
        try:
            status = os.stat(file)
            version = (status.st_mtime_ns, status.st_size)
        except OSError:
            version = None
        key = (self.source.scheme(), self.provider, file, version)
        if key not in _PARSED:
            _PARSED[key] = self.source.load_config(config_path)
        return copy.deepcopy(_PARSED[key])

    def is_group(self, config_path: str) -> bool:
        """Return whether the source has this group."""
        return self.source.is_group(config_path)

    def is_config(self, config_path: str) -> bool:
        """Return whether the source has this file."""
        return self.source.is_config(config_path)

    def available(self) -> bool:
        """Return whether the source is there."""
        return self.source.available()

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Return the groups or files below a group."""
        return self.source.list(config_path, results_filter)
