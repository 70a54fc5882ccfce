"""What is declared of a data set, and short ways to write down where it lies.

Layouts:

`pack`
    One folder per degradation, data set and split: `deraining/rain100l/test/{input,target}`.
`promptir`
    The folders that AirNet, PromptIR and AdaIR read: `Train/Derain/{rainy,gt}`, `test/derain/Rain100L/{input,target}`
    (their `data/Train/README.md`, `INSTALL.md`, `options.py` and `utils/dataset_utils.py`).
`moceir`
    The folders that MoCE-IR reads: `deraining/RainTrainL/{rainy,gt}` (its `src/data/dataset_utils.py`).
`released`
    The folders into which the authors' archives unpack: `GOPRO_Large/train/GOPR*/{blur,sharp}`, `our485/{low,high}`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

LAYOUTS = ("pack", "promptir", "moceir", "released")
"""Names of the layouts, in the order in which they are looked for."""


@dataclass(frozen=True)
class Place:
    """The folders of a data set in one layout.

    Attributes:
        layout: One of `LAYOUTS`.
        target: Folders of the clean images, relative to the root. Parts of a path may be wildcards. Case is ignored,
            unless a folder of exactly this name exists.
        input: Folders of the degraded images; empty for a set of clean images.
        rule: Rule that gives the name of an input's target; see `daair.data.pairing.check_rule`.
        files: Regular expression for the whole names of the clean files, if a folder holds others, too.
        inputs: The same for the degraded files; None = as `files`.
        recursive: Whether images in subfolders belong to the data set.
        listed: Text file, relative to the root, with the paths of the images that belong to the data set, of which the
            last three parts count; None = all do.
        some: Whether those of the folders that exist make up the data set; otherwise all of them are needed.
    """

    layout: str
    target: tuple[str, ...]
    input: tuple[str, ...] = ()
    rule: str = "same"
    files: str | None = None
    inputs: str | None = None
    recursive: bool = False
    listed: str | None = None
    some: bool = False


@dataclass(frozen=True)
class Dataset:
    """A named set of images with a split.

    Attributes:
        name: `name/split`.
        places: Places where the data set may lie, the most likely first.
        count: Official number of inputs, or of clean images if there are no inputs; None if no number is known.
        label: The mixes' name of the degradation; None for clean images.
        input_psnr: Published mean PSNR of the inputs in dB, by metric protocol.
        variants: Descriptions of other published versions, by their number of images.
        margin: Number of pixels by which the published targets exceed the inputs on each side.
        scene: Regular expression that is searched in the last three parts of a target's path, and whose first group is
            the scene; None: each shows its own.
        reference: The source of the data set and of its numbers.
    """

    name: str
    places: tuple[Place, ...]
    count: int | None = None
    label: str | None = None
    input_psnr: dict[str, float] = field(default_factory=dict)
    variants: dict[int, str] = field(default_factory=dict)
    margin: int = 0
    scene: str | None = None
    reference: str = ""

    @property
    def paired(self) -> bool:
        """Whether the data set holds degraded images beside the clean ones."""
        return any(place.input for place in self.places)


def clean(layout: str, *target: str, **more) -> Place:
    """Return the place of a set of clean images."""
    return Place(layout, target, **more)


def pairs(layout: str, folder: str, input: str = "input", target: str = "target", **more) -> Place:
    """Return the place of pairs in two folders of one folder; an empty name stands for this folder itself."""
    at_input, at_target = (f"{folder}/{part}".strip("/") for part in (input, target))
    return Place(layout, (at_target,), (at_input,), **more)


def released(tops: Sequence[str], input: str, target: str, **more) -> tuple[Place, ...]:
    """Return the places of released pairs, one for each name under which their top folder is found.

    An empty name means that the root is the top folder.
    """
    return tuple(pairs("released", top, input, target, **more) for top in tops)
