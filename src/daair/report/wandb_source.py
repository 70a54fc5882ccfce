"""Read the runs of a Weights & Biases project by restoring their folders.

The mirror uploads the small files of a run's folder (`Record.collated`). This module downloads them into

    <runs>/.wandb/<project>/<study>/<label>-<config id>/seed<k>/     the run's folder, without weights and checkpoints

so that every reader of folders can read these too. Unchanged runs are not downloaded again. W&B's own config is not
used, because it loses the order of keys and empty values. W&B's offline folders are not read, because their format is
internal; the run's own folder stands beside them, and `wandb sync` uploads them to a server.
"""

import contextlib
import json
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from daair.errors import UserError, one_line
from daair.files import safe_name, write_text
from daair.report import folders
from daair.report.folders import LeftOut
from daair.report.frame import Collated, frame
from daair.runs import store
from daair.runs.mirror import sign_in
from daair.runs.record import Record

if TYPE_CHECKING:
    from wandb.apis.public import File
    from wandb.apis.public import Run as WandbRun

TIMEOUT = 60  # seconds for one answer of the server, including retries after "too many requests"
PAGE = 200  # runs or files per request
THREADS = 8  # runs that are inspected or downloaded at the same time


ShowProgress = Callable[[str, int], AbstractContextManager[Any]]
"""Start to show work with a name and a number of parts; `advance()` of the context is called after each part."""


class _Silent:
    def advance(self) -> None:
        pass


def _silent(name: str, total: int) -> AbstractContextManager[_Silent]:
    return contextlib.nullcontext(_Silent())


@dataclass(frozen=True)
class Listed:
    """A run of the project and the run folder among its files.

    Attributes:
        id: W&B's id of the run.
        heartbeat: ISO time of its last message.
        state: W&B's name of its state: running, finished, failed, crashed, killed, ...
        run: `<study>/<label>-<config id>/seed<k>`; empty if it is not a run of this lab.
    """

    id: str
    heartbeat: str
    state: str
    run: str


def gather(
    source: Literal["folders", "wandb", "both"],
    project: str | None,
    runs: str | Path,
    studies: str | Sequence[str] | None = None,
    progress: ShowProgress = _silent,
) -> tuple[Collated, Path]:
    """Read the runs of some studies from folders, from Weights & Biases, or from both.

    A run that is in both is read from its folder.

    Args:
        source: The place to read from.
        project: `entity/name`, or the name of a project of the account's own; not needed for folders.
        runs: The folder of runs.
        studies: Name of one study, or names; None = all.
        progress: Shows the progress.

    Returns:
        The runs, and the folder below which their folders are.

    Raises:
        UserError: There are no runs, or no key, network or such project. It is raised within about a minute.
    """
    runs = Path(runs)
    if source == "folders":
        return frame(runs, studies), runs
    asked = [studies] if isinstance(studies, str) else studies
    own = (
        [one for study in asked or store.studies(runs) for one in folders.find(runs, study)] if source == "both" else []
    )
    names = {folders.name(one, runs): one for one in own if isinstance(one, Path)}
    cache = runs / ".wandb" / re.sub(r"[^A-Za-z0-9._/-]+", "-", project or "").replace("..", "-").strip("/")
    known = [name for name, folder in names.items() if store.is_named_like_a_run(folder)]
    fetched, left_out = fetch(project or "", cache, asked, known, progress)
    for study in asked or [None]:
        top = f"{folders.name(store.study_folder(runs, study), runs)}/" if study else ""
        if not any(name.startswith(top) for name in (*names, *fetched)):
            others = f"; {len(left_out)} left out, such as {left_out[0]}" if left_out else ""
            text = f"no runs of {f'study={study}' if study else 'any study'}{others}"
            raise UserError(f"collate.project={project}: {text}")
    # A folder of links to exactly these runs, because the cache may hold others and the user's own must not move.
    view = cache / ".view" / (safe_name("+".join(asked)) if asked else ".all")
    shutil.rmtree(view, ignore_errors=True)
    for name, folder in {**{name: cache / name for name in fetched}, **names}.items():
        (view / name).parent.mkdir(parents=True, exist_ok=True)
        (view / name).symlink_to(folder.resolve(), target_is_directory=True)
    collated = frame(view, studies)
    return replace(collated, left_out=(*collated.left_out, *left_out)), view


def fetch(
    project: str,
    cache: Path,
    studies: Sequence[str] | None = None,
    known: Collection[str] = (),
    progress: ShowProgress = _silent,
) -> tuple[list[str], list[LeftOut]]:
    """Update the cache.

    Args:
        project, studies, progress: See `gather`.
        cache: Folder for the runs of this project.
        known: Runs not to download, `<study>/<label>-<config id>/seed<k>`; labels are ignored.

    Returns:
        The runs of the project that are in the cache, without the known ones; and what was left out.

    Raises:
        UserError: There is no key, network or such project.
    """
    found = {run.id: run for run in _runs(project, studies)}
    listed, failed = _all(lambda id: _listed(found[id], cache), found, "look at", progress)
    left_out = [LeftOut(f"{project}/{id}", reason) for id, reason in failed.items()]
    newest: dict[tuple[str, ...], Listed] = {}
    for one in sorted(listed.values(), key=lambda one: one.heartbeat):
        if not one.run:
            left_out.append(LeftOut(f"{project}/{one.id}", "not a run of DaAIR Lab: it has no config and status"))
            continue
        same = store.identity(one.run)
        if same in newest:
            reason = f"{project}/{one.id} is the same run, and newer"
            left_out.append(LeftOut(f"{project}/{newest[same].id}", reason))
        newest[same] = one
    here = {store.identity(run) for run in known}
    wanted = {one.run: one for same, one in newest.items() if same not in here}
    stale = [run for run, one in wanted.items() if _note(cache / run / NOTE) != asdict(one)]
    _, failed = _all(lambda run: _download(found[wanted[run].id], wanted[run], cache), stale, "fetch", progress)
    left_out += [LeftOut(f"{project}/{wanted[run].id}", reason) for run, reason in failed.items()]
    return sorted(wanted.keys() - failed), left_out


NOTE = ".wandb.json"
"""File in a downloaded folder that holds its `Listed`, to detect changes."""


def _runs(project: str, studies: Sequence[str] | None) -> Iterator["WandbRun"]:
    """Yield all runs of the project, or those of some studies, page by page."""
    try:
        sign_in()
    except UserError as error:
        raise UserError(f"collate.source: Weights & Biases: {error}") from error
    import wandb
    from wandb.errors import Error

    # A file is retried three times; with W&B's default a broken network would cost many minutes for each file.
    patience = wandb.Settings(x_file_transfer_retry_max=3, x_file_transfer_timeout_seconds=TIMEOUT)
    wandb.setup(settings=patience)
    try:
        api = wandb.Api(timeout=TIMEOUT)
        yield from api.runs(
            project, filters={"$or": [{"group": study} for study in studies]} if studies else None, per_page=PAGE
        )
    except (Error, ValueError) as error:
        text = one_line(error)
        if "Could not find project" in text:
            text = f"no such project at {wandb.setup().settings.base_url}, or not open to this account"
        raise UserError(f"collate.project={project}: {text}") from error


def _all(
    work: Callable[[str], Any], names: Iterable[str], doing: str, progress: ShowProgress
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the results of `work` for the names, computed in parallel, and the reasons of failures, both by name.

    Raises:
        UserError: It failed for many names in a row, so the network or the server must be down.
    """
    names, done, failed, in_a_row = list(names), {}, {}, 0

    def guarded(name: str) -> None:
        try:
            done[name] = work(name)
        except Exception as error:  # a single run may fail, for example because one of its files was deleted
            failed[name] = one_line(error)

    with ThreadPoolExecutor(THREADS) as pool, progress(doing, len(names)) as bar:
        try:
            for name, _ in zip(names, pool.map(guarded, names), strict=True):
                bar.advance()
                in_a_row = in_a_row + 1 if name in failed else 0
                if in_a_row == 2 * THREADS:
                    raise UserError(
                        f"Weights & Biases: {in_a_row} runs in a row cannot be read; the last error: {failed[name]}"
                    )
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return done, failed


def _listed(run: "WandbRun", cache: Path) -> Listed:
    """Return the run's `Listed`; the server is asked for its files only if the run has changed since the last time."""
    file = cache / ".listed" / f"{safe_name(run.id)}.json"
    stored = _note(file)
    if stored.get("heartbeat") == run.heartbeat_at and stored.get("state") == run.state:
        return Listed(**stored)
    folders = _files(run)  # a run whose config got another label has an older one, too
    newest = max(folders, key=lambda place: max(file.updated_at or "" for file in folders[place]), default="")
    listed = Listed(run.id, run.heartbeat_at, run.state, newest)
    write_text(file, json.dumps(asdict(listed)))
    return listed


def _files(run: "WandbRun") -> dict[str, list["File"]]:
    """Return the files of a run by run folder; folders without a config and a status are left out."""
    folders: dict[str, list[File]] = {}
    for file in run.files(per_page=PAGE):
        parts = PurePosixPath(file.name).parts
        if len(parts) > 3 and _is_run(*parts[:3]):
            folders.setdefault("/".join(parts[:3]), []).append(file)
    for place in list(folders):
        record, names = Record(place), {file.name for file in folders[place]}
        if not {record.config_file.as_posix(), record.status_file.as_posix()} <= names:
            del folders[place]
    return folders


def _is_run(study: str, variant: str, seed: str) -> bool:
    return bool(safe_name(study) == study and store.VARIANT.fullmatch(variant) and store.SEED.fullmatch(seed))


def _download(run: "WandbRun", listed: Listed, cache: Path) -> None:
    """Put a run's files into the cache, all or none."""
    part = cache / ".part" / safe_name(run.id)
    shutil.rmtree(part, ignore_errors=True)
    for file in _files(run)[listed.run]:
        file.download(root=str(part), replace=True).close()
    folder, target = part / listed.run, cache / listed.run
    record = Record(folder)
    if listed.state != "running" and record.status().state == "running":  # it was killed before it could write this
        record.update(state="interrupted", message=f"ended without a message; Weights & Biases: {listed.state}")
    write_text(folder / NOTE, json.dumps(asdict(listed)))
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(target)
    shutil.rmtree(part)


def _note(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
