"""The sweeper of studies (`hydra/sweeper=study`, the default): Hydra's basic sweeper with named variants.

Everything it knows is in `daair.config.grid`; its keys are explained in conf/hydra/sweeper/study.yaml. Hydra executes
this file before it is a module, so annotations are not postponed here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override

from daair.config.grid import points


class StudySweeper(BasicSweeper):
    """Every variant times the grid; see `daair.config.grid.points`."""

    def __init__(
        self,
        max_batch_size: int | None = None,
        params: Mapping[str, Any] | None = None,
        variants: Mapping[str, Any] | None = None,
        only: Sequence[str] | None = None,
    ) -> None:
        super().__init__(max_batch_size, params)
        self.variants = variants
        self.only = only

    def sweep(self, arguments: list[str]) -> Any:
        """Run the jobs; the status of each counts for that of the command, also where it ran in another process."""
        from daair import cli

        returns = super().sweep(arguments)
        for job in (job for batch in returns for job in batch):
            cli.note(1 if job.return_value is None else int(job.return_value))
        return returns

    def split_arguments(self, overrides: list[Override], max_batch_size: int | None) -> list[list[list[str]]]:
        """Return the sweep's jobs as override texts, in batches of at most `max_batch_size`."""
        return list(self.split_overrides_to_chunks(points(overrides, self.variants, self.only), max_batch_size))

    def validate_batch_is_legal(self, batch: list[list[str]]) -> None:
        """Nothing: `daair.config.jobs` has composed and checked every job already."""
