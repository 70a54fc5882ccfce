"""What follows a sweep of a study's file: its table."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from daair.errors import UserError
from daair.schema import Config


def make_tables(configs: Sequence[Config]) -> None:
    """Collate each study of the sweep that has a file (`experiment=NAME`), as `task=collate study=NAME` would.

    A table that cannot be made is one line; it does not change how the sweep ended.
    """
    studies = {(config.paths.runs, config.study): config for config in configs if "experiment" in config.choices}
    for config in studies.values():
        from daair.engine.collate import collate

        try:
            collate(config)
        except UserError as error:
            print(f"no table of {config.study}: {error}", file=sys.stderr, flush=True)
