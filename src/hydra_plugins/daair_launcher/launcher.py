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
        """Nothing: `daair.preflight` has the configs, composed and checked."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs with these overrides; returns one result each, in their order.

        Raises:
            SystemExit: a signal stopped the sweep.
        """
        from daair import cli
        from daair.launch.sweep import sweep
        from daair.preflight import checked

        jobs = [list(overrides) for overrides in job_overrides]
        status = sweep([checked(overrides) for overrides in jobs])
        if status > cli.SIGNALLED:
            raise SystemExit(status)
        cli.note(status)  # told already; the command ends with it when all batches have had their turn
        return [JobReturn(overrides=overrides, status=JobStatus.COMPLETED, _return_value=status) for overrides in jobs]
