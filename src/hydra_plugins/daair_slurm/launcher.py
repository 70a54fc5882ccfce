"""The launcher of sweeps on a Slurm cluster (`hydra/launcher=slurm`): Hydra's face of `daair.launch.cluster`.

Its options are the keys `launch.*` and `launch.slurm.*`, explained in conf/config.yaml. Hydra executes this file
before it is a module, so annotations are not postponed here, and nothing heavy is imported until there is something to
launch.
"""

from collections.abc import Sequence

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class SlurmLauncher(Launcher):
    """Gives all jobs of a batch to `daair.launch.cluster`."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep who asks; `daair.config.jobs` has the configs, composed and checked."""
        self.sweeper = config.hydra.sweeper._target_

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit the jobs with these overrides, and wait for them if asked to; returns one result each, in their order.

        Raises:
            SystemExit: a signal ended the waiting, or Slurm refused.
        """
        from daair.launch.cluster import sweep
        from daair.launch.outcome import batch

        jobs = [list(overrides) for overrides in job_overrides]
        values = batch(jobs, sweep, self.sweeper)
        return [JobReturn(o, status=JobStatus.COMPLETED, _return_value=v) for o, v in zip(jobs, values, strict=True)]
