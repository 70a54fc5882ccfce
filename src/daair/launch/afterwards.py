"""What follows a sweep of a study's file: its table."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from daair.config.schema import Config
from daair.errors import UserError, reason


def make_tables(configs: Sequence[Config]) -> None:
    """Collate each study of the sweep that has a file (`experiment=NAME`), as `task=collate study=NAME` would.

    A table that cannot be made is one line; it does not change how the sweep ended.
    """
    studies = {(config.paths.runs, config.study): config for config in configs if "experiment" in config.choices}
    for config in studies.values():
        try:
            from daair.tasks.collate import collate

            collate(config)
        except UserError as error:
            print(f"no table of {config.study}: {error}", file=sys.stderr, flush=True)
        except Exception as error:  # a bug of ours must not make a sweep fail that did not
            text = f"{reason(error)}; task=collate study={config.study} tells more"
            print(f"no table of {config.study}: {text}", file=sys.stderr, flush=True)
