"""Make the table of a study after the sweep of its file."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from daair.config.jobs import Job
from daair.errors import UserError, reason


def make_tables(jobs: Sequence[Job]) -> None:
    """Collate each study of the sweep that has a file (`experiment=NAME`), as `task=collate study=NAME` would.

    A table that cannot be made is one line; it does not change how the sweep ended.
    """
    studies = {(job.config.paths.runs, job.config.study): job for job in jobs if "experiment" in job.config.choices}
    for (_, study), job in studies.items():
        try:
            from daair.tasks.collate import collate

            collate(job)
        except UserError as error:
            print(f"no table of {study}: {error}", file=sys.stderr, flush=True)
        except Exception as error:  # a bug of ours must not make a sweep fail that did not
            text = f"{reason(error)}; task=collate study={study} tells more"
            print(f"no table of {study}: {text}", file=sys.stderr, flush=True)
