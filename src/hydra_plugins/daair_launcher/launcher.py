"""The launcher of sweeps on this machine (`hydra/launcher=accelerate`): Hydra's face of `daair.launch`.

Its options are the keys `launch.*`, explained in conf/config.yaml. Hydra executes this file before it is a module, so
annotations are not postponed here, and nothing heavy is imported before there is something to launch.
"""

from collections.abc import Sequence

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class AccelerateLauncher(Launcher):
    """Gives all jobs of a batch to `daair.launch.sweep`."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep who asks; `daair.config.jobs` has the configs, composed and checked."""
        self.sweeper = config.hydra.sweeper._target_

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs with these overrides; returns one result each, in their order.

        Raises:
            SystemExit: a signal stopped the sweep, or it was refused.
        """
        from daair.launch.outcome import batch
        from daair.launch.sweep import sweep

        jobs = [list(overrides) for overrides in job_overrides]
        values = batch(jobs, sweep, self.sweeper)
        return [JobReturn(o, status=JobStatus.COMPLETED, _return_value=v) for o, v in zip(jobs, values, strict=True)]
