"""Hydra's faces of the lab: the sweeper of studies, our two launchers, and the configs of installed plugins.

Hydra executes this file before it is a module, and for `--help` too, so nothing heavy is imported above.
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
    """Adds the folder `conf/` of each installed plugin to the search path, behind our own."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folders."""
        from daair.config.plugins import conf_folders

        for package, folder in conf_folders().items():
            search_path.append(f"plugin {package}", f"file://{folder}")


class StudySweeper(Sweeper):
    """The sweeper of studies (`hydra/sweeper=study`, the default), for launchers of Hydra's.

    The command's jobs are listed already, see `daair.config.grid`; the keys are explained in
    conf/hydra/sweeper/study.yaml.
    """

    def __init__(self, **keys: Any) -> None:
        """Take the keys of the sweeper's config, which the command has read."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep the task, a `daair.launch.start.HydraTask`, and make the launcher."""
        self.task = task_function
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run the jobs; the status of each counts for that of the command, also where it ran in another process."""
        begun = 0
        for batch in self.task.command.batches():
            for job in self.launcher.launch([list(own) for own in batch], initial_job_idx=begun):
                self.task.statuses.append(1 if job.return_value is None else int(job.return_value))
            begun += len(batch)


class LabLauncher(Launcher):
    """Gives the jobs of a batch to one of our launchers, where a sweeper of Hydra's chose them."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep the task, a `daair.launch.start.HydraTask`."""
        self.task = task_function

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs with these overrides and return one result each, in their order.

        Raises:
            SystemExit: A signal stopped the sweep, or it was refused.
        """
        jobs = [list(overrides) for overrides in job_overrides]
        values = self.task.batch(jobs, self.start)
        return [JobReturn(o, status=JobStatus.COMPLETED, _return_value=v) for o, v in zip(jobs, values, strict=True)]

    @staticmethod
    @abstractmethod
    def start(jobs: "Sequence[Job]") -> int:
        """Do the jobs and return one exit status."""


class AccelerateLauncher(LabLauncher):
    """Sweeps on this machine (`hydra/launcher=accelerate`); the options are the keys `launch.*`."""

    @staticmethod
    def start(jobs: "Sequence[Job]") -> int:
        """Run what is missing of these jobs on this machine's devices and return the exit status."""
        from daair.launch.sweep import sweep

        return sweep(jobs)


class SlurmLauncher(LabLauncher):
    """Sweeps on a Slurm cluster (`hydra/launcher=slurm`); the options are `launch.*` and `launch.slurm.*`."""

    @staticmethod
    def start(jobs: "Sequence[Job]") -> int:
        """Have Slurm run what is missing of these jobs and return the exit status."""
        from daair.launch.cluster import sweep

        return sweep(jobs)
