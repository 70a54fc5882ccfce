"""The mirrors of a run's folder that its config asks for."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from daair.config.schema import Config
from daair.engine.checkpoints import newest_step
from daair.engine.progress import Reporter
from daair.runs.mirror import Mirror
from daair.runs.record import Record
from daair.runs.tensorboard import TensorBoard


class Mirrors:
    """Several mirrors of one run, which all get the same; `daair.runs.mirror.Mirror` explains the methods."""

    def __init__(self, *mirrors: Mirror | TensorBoard) -> None:
        self.mirrors = mirrors

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Send the numbers of a step."""
        for mirror in self.mirrors:
            mirror.log(step, values)

    def catch_up(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Send the numbers that an earlier attempt recorded but did not send."""
        rows = list(rows)
        for mirror in self.mirrors:
            mirror.catch_up(rows)

    def log_images(self, step: int, pictures: Mapping[str, Path]) -> None:
        """Send pictures by name."""
        for mirror in self.mirrors:
            mirror.log_images(step, pictures)

    def log_routing(self, step: int, utilisation: Mapping[str, Any], labels: list[str]) -> None:
        """Send the mean utilisation matrix."""
        for mirror in self.mirrors:
            mirror.log_routing(step, utilisation, labels)

    def summarise(self, values: Mapping[str, Any]) -> None:
        """Set summary numbers."""
        for mirror in self.mirrors:
            mirror.summarise(values)

    def keep(self, record: Record) -> None:
        """Send the current contents of the files that collation reads."""
        for mirror in self.mirrors:
            mirror.keep(record.collated, record.root)

    def finish(self, exit_code: int, limit: float | None = None) -> None:
        """End all, each within `limit` seconds if it is given."""
        for mirror in self.mirrors:
            mirror.finish(exit_code, limit)


def wandb_id(record: Record) -> str | None:
    """Return the run's id in W&B; None for a run of an earlier version, which has the one of its names.

    It is drawn when the run begins. A run that is trained anew has another folder and so another id: W&B would take
    none of its steps under the old one.
    """
    return record.summary().get("wandb")


def mirrors_of(cfg: Config, record: Record, reporter: Reporter) -> Mirrors:
    """Return the run's mirrors, with its config; there are none in other processes than the main one."""
    logger, mirrors = cfg.logger, []
    if record.writer and logger.mode != "disabled":
        wandb = Mirror(
            record.folder,
            mode=logger.mode,
            project=logger.project,
            entity=logger.entity,
            tags=logger.tags,
            notes=logger.notes,
            images=logger.images,
            study=cfg.study,
            name="/".join(record.folder.parts[-2:]),
            id=wandb_id(record),
            config={**cfg.to_dict(), "data": record.data()},
            say=reporter.say,
        )
        mirrors.append(wandb)
    if record.writer and logger.tensorboard:
        text = yaml.safe_dump(cfg.to_dict(), sort_keys=False, allow_unicode=True)
        resumed = newest_step(record.checkpoints)
        board = TensorBoard(record.folder, resumed=resumed, images=logger.images, config=text, say=reporter.say)
        mirrors.append(board)
    found = Mirrors(*mirrors)
    found.keep(record)
    return found
