"""Hydra plugins of the lab: the sweeper of studies, the two launchers, and the configs of installed plugins.

Hydra executes this file at every start, also for `--help`, so it imports nothing slow at the top.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from daair.config.jobs import Job


class PluginConfigs(SearchPathPlugin):
    """A search path plugin that appends the folder `conf/` of each installed package to our own."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folders."""
        from daair.config.plugins import conf_folders

        for package, folder in conf_folders().items():
            search_path.append(f"plugin {package}", f"file://{folder}")


class StudySweeper(Sweeper):
    """The sweeper of studies (`hydra/sweeper=study`, the default) for launchers from other packages.

    The jobs come from the command, which listed them before (`daair.config.grid`). The comments in
    conf/hydra/sweeper/study.yaml explain the keys.
    """

    def __init__(self, **keys: Any) -> None:
        """Accept the keys of the sweeper's config, which the command has read already."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store the task, a `daair.launch.start.HydraTask`, and create the launcher."""
        self.task = task_function
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run the jobs and append their exit statuses to those of the task, also of jobs in other processes."""
        begun = 0
        for batch in self.task.command.batches():
            for job in self.launcher.launch([list(own) for own in batch], initial_job_idx=begun):
                self.task.statuses.append(1 if job.return_value is None else int(job.return_value))
            begun += len(batch)


class LabLauncher(Launcher):
    """A launcher that passes the jobs of one of Hydra's sweepers to our own sweep."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store the task, a `daair.launch.start.HydraTask`."""
        self.task = task_function

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs with these overrides and return their results in the same order.

        Raises:
            SystemExit: A signal stopped the sweep, or the sweep was refused.
        """
        jobs = [list(overrides) for overrides in job_overrides]
        values = self.task.batch(jobs, self.start)
        return [JobReturn(o, status=JobStatus.COMPLETED, _return_value=v) for o, v in zip(jobs, values, strict=True)]

    @staticmethod
    @abstractmethod
    def start(jobs: "Sequence[Job]") -> int:
        """Run the jobs and return one exit status."""


class AccelerateLauncher(LabLauncher):
    """The launcher of sweeps on this machine (`hydra/launcher=accelerate`); its options are the keys `launch.*`."""

    @staticmethod
    def start(jobs: "Sequence[Job]") -> int:
        """Run the unfinished jobs on this machine's devices and return the exit status."""
        from daair.launch.sweep import sweep

        return sweep(jobs)


class SlurmLauncher(LabLauncher):
    """The launcher of sweeps on Slurm (`hydra/launcher=slurm`); its options are `launch.*` and `launch.slurm.*`."""

    @staticmethod
    def start(jobs: "Sequence[Job]") -> int:
        """Submit the unfinished jobs to Slurm and return the exit status."""
        from daair.launch.cluster import sweep

        return sweep(jobs)
