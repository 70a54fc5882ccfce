"""What a job hands back to Hydra's sweeper: its exit status, or the number that a search wants to improve."""

from collections.abc import Callable, Sequence

from daair import cli
from daair.config.identity import run_folder
from daair.config.jobs import checked
from daair.config.validate import Config
from daair.errors import UserError
from daair.runs.record import Record

GRIDS = ("daair_sweeper.sweeper.StudySweeper", "basic_sweeper.BasicSweeper")
"""Ends of the targets of sweepers that do not look at what their jobs return; the others search."""


def outcome(cfg: Config, status: int, sweeper: str) -> int | float | None:
    """Return what the job with this config returns to `sweeper`.

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
    """Return the last value of the metric `launch.objective` of the run with this config.

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


def batch(
    jobs: Sequence[Sequence[str]], sweep: Callable[[Sequence[Config]], int], sweeper: str
) -> list[int | float | None]:
    """Run a launcher's jobs, and hand back the outcome of each, in their order.

    Args:
        jobs: their overrides.
        sweep: runs them all; returns one exit status.
        sweeper: `_target_` of Hydra's sweeper.

    Raises:
        SystemExit: a signal ended it, or it was refused; said in one line, since Hydra would print where it comes from.
    """
    try:
        configs = [checked(overrides) for overrides in jobs]
        status = sweep(configs)
        if status > cli.SIGNALLED:
            raise SystemExit(status)
        cli.note(status)  # told already; the command ends with it when all batches have had their turn
        return _outcomes(configs, status, sweeper)
    except UserError as error:
        cli.report(error)
        raise SystemExit(1) from None


def _outcomes(configs: Sequence[Config], status: int, sweeper: str) -> list[int | float | None]:
    if sweeper.endswith(GRIDS):
        return [status] * len(configs)
    states = [Record(run_folder(cfg)).status().state for cfg in configs]
    return [outcome(cfg, int(state != "done"), sweeper) for cfg, state in zip(configs, states, strict=True)]
