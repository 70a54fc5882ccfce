"""What a job hands back to Hydra's sweeper: its exit status, or the number that a search wants to improve."""

from daair.config import Config, run_name
from daair.errors import UserError
from daair.runs.record import Record

GRIDS = ("daair_sweeper.sweeper.StudySweeper", "basic_sweeper.BasicSweeper")
"""Ends of the targets of sweepers that do not look at what their jobs return; the others search."""


def outcome(cfg: Config, status: int, sweeper: str) -> int | float | None:
    """What the job with this config returns to `sweeper`.

    Args:
        cfg: the job's config.
        status: its exit status.
        sweeper: `_target_` of Hydra's sweeper.

    Returns:
        `status`; to a sweeper that searches (Optuna) the objective, or None from a job that failed.

    Raises:
        UserError: the run has no such metric.
    """
    if sweeper.endswith(GRIDS):
        return status
    return None if status else objective(cfg)


def objective(cfg: Config) -> float:
    """The last value of the metric `launch.objective` of the run with this config.

    Raises:
        UserError: the run has no such metric.
    """
    name, record = cfg.launch.objective, Record(f"{cfg.paths.runs}/{run_name(cfg)}")
    rows = record.metrics()
    for row in reversed(rows):
        if isinstance(value := row.get(name), int | float):
            return float(value)
    known = sorted({key for row in rows for key, value in row.items() if isinstance(value, int | float)} - {"step"})
    raise UserError(f"launch.objective: {record.folder} has no metric {name} (it has {', '.join(known) or 'none'})")
