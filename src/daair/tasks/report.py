"""`task=report`: write `<paths.runs>/index.html`, a page over all studies; the runs' folders are only read.

This module does not import torch, so that it answers quickly on a busy machine.
"""

import time

from daair.config.jobs import Job
from daair.data.listing import check_folder
from daair.engine.progress import Reporter
from daair.report import index


def report(job: Job) -> int:
    """Write the page, again every `report.every` seconds until no run is queued or running; return the exit status.

    Raises:
        UserError: There is no folder of runs.
    """
    cfg = job.config
    check_folder(cfg.paths.runs, "paths.runs: ")
    page, unfinished = index.write(cfg.paths.runs, cfg.report.every)
    Reporter().say(str(page))
    while unfinished and cfg.report.every is not None:
        time.sleep(cfg.report.every)
        _, unfinished = index.write(cfg.paths.runs, cfg.report.every)
    return 0
