"""Weights & Biases as a mirror of a run's folder. Whatever goes wrong here costs one line, never the run.

The files that collation reads of a run (`Record.collated`) are sent as files of the W&B run, named by their path below
`paths.runs`: `<study>/<label>-<config id>/seed<k>/results.csv` and so on. `daair.report.wandb_source` fetches them
again. An account is used if there is one; nobody is asked for one.
"""

import functools
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from daair.errors import UserError, first_line

INIT_TIMEOUT = 20  # seconds to reach the server before going on offline; W&B's own default is 90
TEARDOWN_TIMEOUT = 20  # seconds for W&B's service to let go of a run that did not begin; W&B waits for ever
FINISH_TIMEOUT = 120  # seconds for what is still to be sent when a run ends; W&B's own default is to wait for ever


def _guarded(method: Callable) -> Callable:
    """Let a method do nothing while the mirror is off, and switch it off when something goes wrong."""

    @functools.wraps(method)
    def guarded(self: "Mirror", *args: Any, **keys: Any) -> None:
        if self.run is not None:
            try:
                method(self, *args, **keys)
            except Exception as error:  # a mirror must never take the run along: BrokenPipe, CommError, UsageError, ...
                self._switch_off(error)

    return guarded


class Mirror:
    """One run in W&B; every method is safe to call when the mirror is off or broken.

    Args:
        folder: The run's folder; W&B writes into its `wandb/`.
        mode: `online`, `offline` or `disabled`.
        project, entity: Where the run appears.
        images: Whether to send pictures.
        study, name: Group and display name.
        config: The frozen config.
        say: Called with a line for the user.
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
        arguments = {
            "project": project,
            "entity": entity,
            "id": run_id(study, name),
            "name": name,
            "group": study,
            "job_type": "train",
            "dir": str(folder),
            "config": dict(config),
            "resume": "allow",
        }
        try:
            self._start(mode, arguments)
        except Exception as error:
            self._switch_off(error)

    def _start(self, mode: str, arguments: dict[str, Any]) -> None:
        wandb = _quiet_wandb()
        settings = wandb.Settings(
            init_timeout=INIT_TIMEOUT,
            finish_timeout=FINISH_TIMEOUT,
            finish_timeout_raises=True,
            console="off",
            disable_git=True,
            save_code=False,
            symlink=False,  # hard links: an offline run may be synced from another machine, without the run's folder
            x_disable_stats=True,
            silent=True,
        )
        if mode == "online":
            try:
                sign_in()
                self.run = wandb.init(mode=mode, settings=settings, **arguments)
                return
            except Exception as error:
                self._say(f"Weights & Biases: {first_line(error)}; so this run is logged offline")
                # Else the id counts as being in use. In a thread, which may be left behind: it can wait for ever, and
                # ends with a SystemExit where the service failed.
                letting_go = threading.Thread(target=wandb.teardown, daemon=True)
                letting_go.start()
                letting_go.join(TEARDOWN_TIMEOUT)
        self.run = wandb.init(mode="offline", settings=settings, **arguments)

    @_guarded
    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Send numbers of a step."""
        self.run.log(dict(values), step=step)

    @_guarded
    def catch_up(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Send the numbers that an earlier attempt had recorded but not sent when it was killed.

        Args:
            rows: Lines of metrics, oldest first (`Record.metrics`).
        """
        if self.run.offline:  # each attempt has a complete file of its own
            return
        first = self.run.step
        for row in rows:
            if row["step"] >= first:
                numbers = {k: v for k, v in row.items() if k != "step" and isinstance(v, int | float)}
                self.run.log(numbers, step=row["step"])

    @_guarded
    def log_images(self, step: int, pictures: Mapping[str, Path]) -> None:
        """Send pictures, by name."""
        import wandb

        if self.images:
            self.run.log({name: wandb.Image(str(path)) for name, path in pictures.items()}, step=step)

    @_guarded
    def log_routing(self, step: int, utilisation: Mapping[str, Any], labels: list[str]) -> None:
        """Send the mean utilisation matrix: one row per expert, one column per degradation.

        It is sent as a page: for W&B's own tables, which are artifacts, training would wait for the server, and without
        a network the rest of the run would not be mirrored.
        """
        import pandas as pd
        import wandb

        if self.images:
            matrix = pd.DataFrame(utilisation["mean"], columns=labels).rename_axis("expert")
            self.run.log({"routing/utilisation": wandb.Html(matrix.to_html(float_format="%.2f"))}, step=step)

    @_guarded
    def summarise(self, values: Mapping[str, Any]) -> None:
        """Set summary numbers, such as the final scores."""
        self.run.summary.update(dict(values))

    @_guarded
    def keep(self, files: Iterable[Path], root: Path) -> None:
        """Send files as they are now, named by their path below `root`; a file sent before is replaced."""
        for file in files if self.images else (file for file in files if file.suffix != ".png"):
            self.run.save(str(file), base_path=str(root), policy="now", glob=False)

    @_guarded
    def finish(self, exit_code: int) -> None:
        """Close the run; a code other than 0 marks it as failed."""
        try:
            self.run.finish(exit_code=exit_code)
        except TimeoutError:
            command = f"wandb sync --include-online {self.run.settings.sync_dir}"
            self._say(f"Weights & Biases: no answer for {FINISH_TIMEOUT} s; to send the rest later: {command}")
        self.run = None

    def _switch_off(self, error: Exception) -> None:
        self.run = None
        self._say(f"Weights & Biases: switched off for this run ({first_line(error)}); its folder has everything")


def run_id(study: str, name: str) -> str:
    """Return the id of a run in W&B: the same for every attempt, so that a resumed run goes on where it was."""
    return hashlib.sha1(f"{study}/{name}".encode()).hexdigest()[:10]


def sign_in() -> None:
    """Check that there is a key and that the server accepts it, without asking the user for one.

    Raises:
        UserError: There is none, or no server; the reason is a few words that fit into a sentence.
    """
    wandb = _quiet_wandb()
    mode = os.environ.get("WANDB_MODE", "online")
    if mode != "online":
        raise UserError(f"WANDB_MODE={mode} is set")
    try:
        found = wandb.login(prompt=False, verify=True)
    except Exception as error:  # AuthenticationError for every reason, ValueError for keys of an odd form, ...
        raise UserError(_why(error)) from error
    if not found:
        raise UserError("no API key found (wandb login, or WANDB_API_KEY)")


def _quiet_wandb() -> Any:
    """Return W&B's package, told not to print who is logged in."""
    import wandb

    if not hasattr(wandb, "init"):  # a folder named wandb that Python takes for the package
        raise UserError("the package wandb is not installed")
    os.environ.setdefault("WANDB_SILENT", "true")
    return wandb


def _why(error: Exception) -> str:
    text = first_line(error)
    if "did not respond" in text or "<no message>" in text:  # what wandb says of a server that it cannot reach
        import wandb

        return f"no answer from {wandb.setup().settings.base_url}"
    return text
