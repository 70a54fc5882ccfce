"""What a job hands back to Hydra's sweeper: its exit status, or the number that a search wants to improve."""

from collections.abc import Sequence

from daair.config import Config, run_folder
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
    name, record = cfg.launch.objective, Record(run_folder(cfg))
    rows = record.metrics()
    for row in reversed(rows):
        if isinstance(value := row.get(name), int | float):
            return float(value)
    known = sorted({key for row in rows for key, value in row.items() if isinstance(value, int | float)} - {"step"})
    raise UserError(f"launch.objective: {record.folder} has no metric {name} (it has {', '.join(known) or 'none'})")


def outcomes(configs: Sequence[Config], status: int, sweeper: str) -> list[int | float | None]:
    """The same for the jobs of a launcher that runs them elsewhere, which gives `status` for all of them together."""
    if sweeper.endswith(GRIDS):
        return [status] * len(configs)
    states = [Record(run_folder(cfg)).status().state for cfg in configs]
    return [outcome(cfg, int(state != "done"), sweeper) for cfg, state in zip(configs, states, strict=True)]
