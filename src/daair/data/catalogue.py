"""The known data sets, and the folders in which they lie in each layout.

A data set is an entry of the table `DATASETS`, keyed `name/split`. It states the official number of images, how inputs
and targets pair, and a `Place` in each layout; the modules of `daair.data.sets` declare them. `daair.data.datasets`
looks for them on disk.
"""

from daair.data.sets import camera, clean, weather
from daair.data.sets.places import Dataset
from daair.errors import UserError, unknown_name

OTHER_FORMS = {"gopro/train": "gopro_crops/train"}
"""The same pairs cut in another way, by name: whoever has only these is told so."""

DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in (*clean.sets(), *weather.sets(), *camera.sets())}
"""All data sets by name, the clean ones first."""


def find_dataset(name: str) -> Dataset:
    """Return a data set by name; raise a UserError with the nearest name if it is unknown."""
    if name not in DATASETS:
        raise UserError(f"dataset {unknown_name(name, DATASETS)}")
    return DATASETS[name]
