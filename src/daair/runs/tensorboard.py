"""The mirror of a run's folder in TensorBoard: event files in its subfolder `tensorboard`, by Accelerate's tracker.

An error here prints one line and never stops the run. What is logged is on disk before the next checkpoint, so the
files of a killed attempt are complete up to the step at which the next one goes on; TensorBoard drops what they have
from there on.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from daair.runs.mirror import Guarded, guarded

FOLDER = "tensorboard"


class TensorBoard(Guarded):
    """One run in TensorBoard; every method is safe to call if the mirror is off or broken.

    Args:
        folder: The run's folder.
        resumed: The step at which the run goes on; 0 at its beginning.
        images: Whether to write pictures.
        config: The frozen config as text.
        say: Function that shows a line to the user.
    """

    title = "TensorBoard"

    def __init__(self, folder: Path, *, resumed: int, images: bool, config: str, say=print) -> None:
        self.run, self.images, self._say, self._step = None, images, say, resumed
        self._new = not any((folder / FOLDER).glob("events*"))
        try:
            from accelerate.tracking import TensorBoardTracker

            tracker = TensorBoardTracker(FOLDER, str(folder), purge_step=resumed + 1)
            tracker.start()
        except Exception as error:
            self._switch_off(error)
            return
        self.run = tracker
        if self._new:
            self.log(0, {"config": f"```yaml\n{config}```"})

    @guarded
    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Write the numbers, or texts, of a step to disk."""
        self._step = max(step, self._step)
        self.run.log(dict(values), step=step)

    @guarded
    def catch_up(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write the numbers that earlier attempts recorded if those had no such mirror."""
        for row in rows if self._new else ():
            self.log(row["step"], {k: v for k, v in row.items() if k != "step" and isinstance(v, int | float)})

    @guarded
    def log_images(self, step: int, pictures: Mapping[str, Path]) -> None:
        """Write pictures by name."""
        import numpy as np
        from PIL import Image

        for name, path in pictures.items() if self.images else ():
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert("RGB"))[None]
            self.run.log_images({name: pixels}, step=step, dataformats="NHWC")

    @guarded
    def log_routing(self, step: int, utilisation: Mapping[str, Any], labels: list[str]) -> None:
        """Write the mean utilisation matrix as a table in Markdown: one row per expert, one column per degradation."""
        rows = [["expert", *labels], ["---"] * (1 + len(labels))]
        rows += [[str(i), *(f"{share:.2f}" for share in row)] for i, row in enumerate(utilisation["mean"])]
        if self.images and utilisation["mean"]:
            self.log(step, {"routing/utilisation": "\n".join(f"| {' | '.join(row)} |" for row in rows)})

    def summarise(self, values: Mapping[str, Any]) -> None:
        """Write summary numbers, such as the final scores, at the last step."""
        self.log(self._step, values)

    def keep(self, files: Iterable[Path], root: Path) -> None:
        """Leave the files of the run where they are: TensorBoard shows none."""

    @guarded
    def finish(self, exit_code: int, limit: float | None = None) -> None:
        """Close the event file; the arguments have no effect."""
        self.run.finish()
        self.run = None
