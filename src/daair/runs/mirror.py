"""Weights & Biases as a mirror of a run's folder. Whatever goes wrong here costs one line, never the run."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

INIT_TIMEOUT = 20  # seconds to reach the server before going on offline; W&B's own default is 90


class Mirror:
    """One run in W&B; every method is safe to call when the mirror is off or broken.

    Args:
        folder: the run's folder; W&B writes into its `wandb/`.
        mode: `online`, `offline` or `disabled`.
        project, entity: where the run appears.
        images: whether to send pictures.
        study, name: group and display name.
        config: the frozen config.
        say: called with a line for the user.
    """

    def __init__(
        self,
        folder: Path,
        *,
        mode: str,
        project: str,
        entity: str | None,
        images: bool,
        study: str,
        name: str,
        config: Mapping[str, Any],
        say=print,
    ) -> None:
        self.run, self.images, self._say = None, images, say
        if mode == "disabled":
            return
        # The same id for every attempt of a run, so that a resumed run goes on where it was.
        identity = hashlib.sha1(f"{study}/{name}".encode()).hexdigest()[:10]
        arguments = {
            "project": project,
            "entity": entity,
            "id": identity,
            "name": name,
            "group": study,
            "job_type": "train",
            "dir": str(folder),
            "config": dict(config),
            "resume": "allow",
        }
        os.environ.setdefault("WANDB_SILENT", "true")
        self._guarded(lambda: self._start(mode, arguments))

    def _start(self, mode: str, arguments: dict[str, Any]) -> None:
        import wandb

        if mode == "online" and not wandb.login(prompt=False, verify=False):
            self._say("Weights & Biases: no API key found (wandb login), so this run is logged offline")
            mode = "offline"
        settings = wandb.Settings(
            init_timeout=INIT_TIMEOUT,
            console="off",
            disable_git=True,
            save_code=False,
            x_disable_stats=True,
            silent=True,
        )
        try:
            self.run = wandb.init(mode=mode, settings=settings, **arguments)
        except Exception as error:
            if mode != "online":
                raise
            self._say(f"Weights & Biases: no connection ({_first_line(error)}), so this run is logged offline")
            wandb.teardown()  # else the id counts as being in use
            self.run = wandb.init(mode="offline", settings=settings, **arguments)

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Send numbers of a step."""
        if self.run is not None:
            self._guarded(lambda: self.run.log(dict(values), step=step))

    def log_images(self, step: int, pictures: Mapping[str, Path]) -> None:
        """Send pictures, by name."""
        if self.run is None or not self.images:
            return

        def send() -> None:
            import wandb

            self.run.log({name: wandb.Image(str(path)) for name, path in pictures.items()}, step=step)

        self._guarded(send)

    def log_routing(self, step: int, utilisation: Mapping[str, Any], labels: list[str]) -> None:
        """Send the mean utilisation matrix as a table: one row per expert, one column per degradation."""
        if self.run is None or not self.images:
            return

        def send() -> None:
            import wandb

            rows = [[i, *row] for i, row in enumerate(utilisation["mean"])]
            self.run.log({"routing/utilisation": wandb.Table(columns=["expert", *labels], data=rows)}, step=step)

        self._guarded(send)

    def summarise(self, values: Mapping[str, Any]) -> None:
        """Set summary numbers, such as the final scores."""
        if self.run is not None:
            self._guarded(lambda: self.run.summary.update(dict(values)))

    def finish(self, exit_code: int) -> None:
        """Close the run; a code other than 0 marks it as failed."""
        if self.run is not None:
            self._guarded(lambda: self.run.finish(exit_code=exit_code))
            self.run = None

    def _guarded(self, action) -> None:
        try:
            action()
        except Exception as error:  # a mirror must never take the run along: BrokenPipe, CommError, UsageError, ...
            self.run = None
            self._say(f"Weights & Biases: switched off for this run ({_first_line(error)}); its folder has everything")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
