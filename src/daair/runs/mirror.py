"""The mirror of a run's folder in Weights & Biases. An error here prints one line and never stops the run.

The files that collation reads (`Record.collated`) are sent as files of the W&B run, named by their path below
`paths.runs`, such as `<study>/<label>-<config id>/seed<k>/results.csv`. `daair.report.wandb_source` downloads them. The
user is never asked for an account.
"""

import contextlib
import functools
import hashlib
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from daair.errors import UserError, first_line

INIT_TIMEOUT = 20  # seconds to wait for the server before logging offline; W&B's default is 90
TEARDOWN_TIMEOUT = 20  # seconds to wait for W&B's service to release a run that failed to start; W&B has no limit
CLOSED = "closed.txt"  # file of an offline run that was ended, with its last step
FINISH_TIMEOUT = 120  # seconds to wait for the last uploads at the end of a run; W&B has no limit by default


def guarded(method: Callable) -> Callable:
    """Make a method do nothing while the mirror is off, and switch the mirror off if the method fails."""

    @functools.wraps(method)
    def safe(self: "Guarded", *args: Any, **keys: Any) -> None:
        if self.run is not None:
            try:
                method(self, *args, **keys)
            except Exception as error:  # BrokenPipeError, CommError, UsageError, ...: none may stop the run
                self._switch_off(error)

    return safe


class Guarded:
    """A mirror whose errors switch it off with one line.

    Attributes:
        title: Name of the mirror, for users.
        run: Its run; None if it is off.
    """

    title: str
    run: Any
    _say: Callable[[str], None]

    def _switch_off(self, error: Exception) -> None:
        self.run = None
        self._say(f"{self.title}: switched off for this run ({first_line(error)}); its folder has everything")


class Mirror(Guarded):
    """One run in W&B; every method is safe to call if the mirror is off or broken.

    Args:
        folder: The run's folder; W&B writes into its subfolder `wandb`.
        mode: `online`, `offline` or `disabled`.
        project, entity: W&B project and owner of the run.
        images: Whether to send pictures.
        study, name: Group and display name of the run.
        id: The run's id in W&B; None = one that depends on its names alone.
        config: The frozen config.
        tags, notes: Labels of the run, and a text on it.
        say: Function that shows a line to the user.
    """

    title = "Weights & Biases"

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
        id: str | None = None,
        config: Mapping[str, Any],
        tags: Sequence[str] = (),
        notes: str | None = None,
        say=print,
    ) -> None:
        self.run, self.images, self._say, self._files = None, images, say, folder / "wandb"
        self._sent = -1  # the last step of this attempt
        self._knows_its_files = id is not None  # a run of earlier versions did not note which of them are complete
        if mode == "disabled":
            return
        arguments = {
            "project": project,
            "entity": entity,
            "id": id or run_id(study, name),
            "name": name,
            "group": study,
            "job_type": "train",
            "dir": str(folder),
            "config": dict(config),
            "tags": list(tags),
            "notes": notes,
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
            symlink=False,  # hard links, so that an offline run can be synced without the run's folder
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
                # Without a teardown, the id stays in use. It may never return, and raises SystemExit if the service has
                # failed.
                with contextlib.suppress(Exception):
                    _within(TEARDOWN_TIMEOUT, wandb.teardown)
        self._first = self._missing_from() if self._knows_its_files else sys.maxsize
        self.run = wandb.init(mode="offline", settings=settings, **arguments)

    def _missing_from(self) -> int:
        """Return the first step that earlier attempts have neither sent nor written into a complete offline file.

        The file of a killed attempt ends within a record, after which `wandb sync` reads nothing. It gets another name,
        so that it is not sent, and its numbers are written again.
        """
        if any(self._files.glob("run-*")):  # an attempt that was online; the server knows how far it came
            return sys.maxsize
        first = 0
        for folder in self._files.glob("offline-run-*"):
            try:
                first = max(first, int((folder / CLOSED).read_text()) + 1)
            except (OSError, ValueError):
                folder.rename(folder.with_name(f"torn-{folder.name}"))
        return first

    @guarded
    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Send the numbers of a step."""
        self.run.log(dict(values), step=step)
        self._sent = step

    @guarded
    def catch_up(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Send the numbers that an earlier, killed attempt recorded but did not send, or not write completely.

        Args:
            rows: Lines of metrics, oldest first (`Record.metrics`).
        """
        first = self._first if self.run.offline else self.run.step
        for row in rows:
            if row["step"] >= first:
                numbers = {k: v for k, v in row.items() if k != "step" and isinstance(v, int | float)}
                self.log(row["step"], numbers)

    @guarded
    def log_images(self, step: int, pictures: Mapping[str, Path]) -> None:
        """Send pictures by name."""
        import wandb

        if self.images:
            self.run.log({name: wandb.Image(str(path)) for name, path in pictures.items()}, step=step)

    @guarded
    def log_routing(self, step: int, utilisation: Mapping[str, Any], labels: list[str]) -> None:
        """Send the mean utilisation matrix: one row per expert, one column per degradation.

        It is sent as HTML, because W&B's tables are artifacts. For these, training would wait for the server, and the
        rest of the run would not be mirrored if the network fails.
        """
        import pandas as pd
        import wandb

        if self.images:
            matrix = pd.DataFrame(utilisation["mean"], columns=labels).rename_axis("expert")
            self.run.log({"routing/utilisation": wandb.Html(matrix.to_html(float_format="%.2f"))}, step=step)

    @guarded
    def summarise(self, values: Mapping[str, Any]) -> None:
        """Set summary numbers, such as the final scores."""
        self.run.summary.update(dict(values))

    @guarded
    def keep(self, files: Iterable[Path], root: Path) -> None:
        """Send the current contents of files, named by their path below `root`; earlier versions are replaced."""
        for file in files if self.images else (file for file in files if file.suffix != ".png"):
            self.run.save(str(file), base_path=str(root), policy="now", glob=False)

    @guarded
    def finish(self, exit_code: int, limit: float | None = None) -> None:
        """End the W&B run.

        Args:
            exit_code: Marks the run as failed unless it is 0.
            limit: Seconds that this may take if fewer than `FINISH_TIMEOUT` are left.
        """
        limit = min(limit or FINISH_TIMEOUT, FINISH_TIMEOUT)
        try:
            if limit < FINISH_TIMEOUT:
                _within(limit, self.run.finish, exit_code=exit_code)
            else:
                self.run.finish(exit_code=exit_code)
            if self.run.offline:
                (Path(self.run.settings.sync_dir) / CLOSED).write_text(str(max(self._sent, self._first - 1)))
        except TimeoutError:
            command = f"wandb sync --include-online {self.run.settings.sync_dir}"
            self._say(f"Weights & Biases: no answer for {limit:g} s; to send the rest later: {command}")
        self.run = None


def _within(seconds: float, function: Callable, **keys: Any) -> None:
    """Call a function in a thread, which is left behind if it takes longer.

    Raises:
        TimeoutError: It takes longer.
        Exception: What the function raises.
    """
    errors = []

    def call() -> None:
        try:
            function(**keys)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError
    if errors:
        raise errors[0]


def run_id(study: str, name: str) -> str:
    """Return the id that a run has in W&B without another one; runs of earlier versions go on under it."""
    return hashlib.sha1(f"{study}/{name}".encode()).hexdigest()[:10]


def sign_in() -> None:
    """Check that there is an API key and that the server accepts it, without asking the user for one.

    Raises:
        UserError: There is no valid key, or the server does not answer; the message is a phrase for another message.
    """
    wandb = _quiet_wandb()
    mode = os.environ.get("WANDB_MODE", "online")
    if mode != "online":
        raise UserError(f"WANDB_MODE={mode} is set")
    try:
        found = wandb.login(prompt=False, verify=True)
    except Exception as error:  # AuthenticationError, ValueError for malformed keys, ...
        raise UserError(_why(error)) from error
    if not found:
        raise UserError("no API key found (wandb login, or WANDB_API_KEY)")


def _quiet_wandb() -> Any:
    """Return the package `wandb`, set not to print who is logged in."""
    import wandb

    if not hasattr(wandb, "init"):  # Python imports a folder named wandb as a package
        raise UserError("the package wandb is not installed")
    os.environ.setdefault("WANDB_SILENT", "true")
    return wandb


def _why(error: Exception) -> str:
    text = first_line(error)
    if "did not respond" in text or "<no message>" in text:  # W&B's messages if it cannot reach the server
        import wandb

        return f"no answer from {wandb.setup().settings.base_url}"
    return text
