"""The known data sets, and the folders in which they lie in each layout.

A data set is an entry of the table `DATASETS`, keyed `name/split`. It states the official number of images, how inputs
and targets pair, and a `Place` in each layout. `daair.data.datasets` looks for it on disk.

Layouts:

`pack`
    One folder per degradation, data set and split: `deraining/rain100l/test/{input,target}`.
`promptir`
    The folders that AirNet, PromptIR and AdaIR read: `Train/Derain/{rainy,gt}`, `test/derain/Rain100L/{input,target}`
    (their `data/Train/README.md`, `INSTALL.md`, `options.py` and `utils/dataset_utils.py`).
`moceir`
    The folders that MoCE-IR reads: `deraining/RainTrainL/{rainy,gt}` (its `src/data/dataset_utils.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from daair.errors import UserError, unknown_name

LAYOUTS = ("pack", "promptir", "moceir")
"""Names of the layouts, in the order in which they are looked for."""


@dataclass(frozen=True)
class Place:
    """The folders of a data set in one layout.

    Attributes:
        layout: One of `LAYOUTS`.
        target: Folders of the clean images, relative to the root. Parts of a path may be wildcards. Case is ignored,
            unless a folder of exactly this name exists.
        input: Folders of the degraded images; empty for a set of clean images.
        rule: Rule that gives the name of an input's target; see `daair.data.pairing.RULES`.
        files: Regular expression for whole file names, if several data sets share a folder.
        recursive: Whether images in subfolders belong to the data set.
    """

    layout: str
    target: tuple[str, ...]
    input: tuple[str, ...] = ()
    rule: str = "same"
    files: str | None = None
    recursive: bool = False


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
        scene: Regular expression whose first group is the scene in the name of a target; None: each shows its own.
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


def _clean(layout: str, *target: str, **more) -> Place:
    return Place(layout, target, **more)


def _pairs(layout: str, folder: str, input: str = "input", target: str = "target", **more) -> Place:
    return Place(layout, (f"{folder}/{target}",), (f"{folder}/{input}",), **more)


_GOPRO_SCENE = r"(GOPR\d+_\d+_\d+)"  # GOPR0372_07_00-000047.png is a frame of the sequence GOPR0372_07_00
_BSD_NAME = r"a?[1-9]\d{3,5}\.\w+"  # BSDS500's numbers; PromptIR's list of training images has an "a" before them
_WED_NAME = r"0\d{4}\.\w+"  # 00001.bmp to 04744.bmp, as in PromptIR's list

CDD11 = (
    *("low", "haze", "rain", "snow"),
    *("low_haze", "low_rain", "low_snow", "haze_rain", "haze_snow"),
    *("low_haze_rain", "low_haze_snow"),
)
"""Degradations of CDD-11 as its folders name them (Guo et al., OneRestore, ECCV 2024)."""


def _clean_sets() -> Iterator[Dataset]:
    yield Dataset(
        "clean/train",
        (
            _clean("pack", "train/clean"),
            _clean("promptir", "Train/Denoise"),
            _clean("moceir", "denoising/BSD400", "denoising/WaterlooED"),
            _clean("moceir", "denoising/BSD400"),
            _clean("moceir", "denoising/WaterlooED"),
        ),
        reference="all clean training photographs of a layout; BSD400 and WED in the papers' layouts",
    )
    yield Dataset("clean/val", (_clean("pack", "val/clean"),), reference="held-out photographs of the pack")
    yield Dataset(
        "bsd400/train",
        (
            _clean("pack", "denoising/bsd400"),
            _clean("promptir", "Train/Denoise", files=_BSD_NAME),
            _clean("moceir", "denoising/BSD400"),
        ),
        count=400,
        reference="BSDS500 (Arbelaez et al., TPAMI 2011), train and test parts; PromptIR's data_dir/noisy/denoise.txt",
    )
    yield Dataset(
        "wed/train",
        (
            _clean("pack", "denoising/wed"),
            _clean("promptir", "Train/Denoise", files=_WED_NAME),
            _clean("moceir", "denoising/WaterlooED"),
        ),
        count=4744,
        reference="Waterloo Exploration Database (Ma et al., TIP 2017); PromptIR's data_dir/noisy/denoise.txt",
    )
    yield Dataset(
        "cbsd68/test",
        (
            _clean("pack", "denoising/cbsd68"),
            _clean("promptir", "test/denoise/bsd68"),
            _clean("promptir", "test/denoise/cbsd68"),
            _clean("promptir", "test/denoise", files=_BSD_NAME),  # AirNet has no folder for each set
            _clean("moceir", "denoising/cBSD68/original_png"),
        ),
        count=68,
        reference="Martin et al., ICCV 2001; the 68 images of Roth and Black, in colour",
    )
    for name, count, pattern, reference in (
        ("kodak24", 24, None, "Kodak lossless true colour images (Franzen)"),
        ("mcmaster", 18, None, "McMaster (Zhang et al., JEI 2011)"),
        ("urban100", 100, r"img_?\d+.*", "Urban100 (Huang et al., CVPR 2015)"),
    ):
        shared = (_clean("promptir", "test/denoise", files=pattern),) if pattern else ()
        yield Dataset(
            f"{name}/test",
            (
                _clean("pack", f"denoising/{name}"),
                _clean("promptir", f"test/denoise/{name}"),
                *shared,
                _clean("moceir", f"denoising/{name}"),
            ),
            count=count,
            reference=reference,
        )


def _paired_sets() -> Iterator[Dataset]:
    yield Dataset(
        "rain100l/train",
        (
            _pairs("pack", "deraining/rain100l/train", rule="rain"),
            _pairs("promptir", "Train/Derain", "rainy", "gt", rule="rain"),
            _pairs("moceir", "deraining/RainTrainL", "rainy", "gt", rule="rain"),
        ),
        count=200,
        label="rain",
        variants={1800: "RainLight, the authors' later set"},
        reference="RainTrainL (Yang et al., JORDER, CVPR 2017); PromptIR's data_dir/rainy/rainTrain.txt lists 200",
    )
    yield Dataset(
        "rain100l/test",
        (
            _pairs("pack", "deraining/rain100l/test", rule="rain"),
            _pairs("promptir", "test/derain/Rain100L", rule="rain"),
            _pairs("promptir", "test/derain", rule="rain"),
            _pairs("moceir", "deraining/Rain100L", "rainy", "gt", rule="rain"),
        ),
        count=100,
        label="rain",
        input_psnr={"basicsr_y": 26.90},
        variants={200: "the authors' later test set of RainLight, on which figures are not comparable"},
        reference="Yang et al., JORDER, CVPR 2017; input PSNR: RCDNet (Wang et al., CVPR 2020), table of Rain100L",
    )
    yield Dataset(
        "rain100h/train",
        (
            _pairs("pack", "deraining/rain100h/train", rule="rain"),
            _pairs("promptir", "Train/Derain/RainTrainH", "rainy", "gt", rule="rain"),
            _pairs("moceir", "deraining/RainTrainH", "rainy", "gt", rule="rain"),
        ),
        count=1800,
        label="rain",
        variants={1254: "without the 546 pairs whose scenes are in Rain100H's test part (PReNet)"},
        reference="RainTrainH (Yang et al., JORDER, CVPR 2017); PReNet's README on the overlap",
    )
    yield Dataset(
        "rain100h/test",
        (
            _pairs("pack", "deraining/rain100h/test", rule="rain"),
            _pairs("promptir", "test/derain/Rain100H", rule="rain"),
            _pairs("moceir", "deraining/Rain100H", "rainy", "gt", rule="rain"),
        ),
        count=100,
        label="rain",
        variants={200: "the authors' later test set of RainHeavy, on which figures are not comparable"},
        reference="Yang et al., JORDER, CVPR 2017",
    )
    yield Dataset(
        "ots/train",
        (
            _pairs("pack", "dehazing/ots/train", rule="haze", recursive=True),
            _pairs("promptir", "Train/Dehaze", "synthetic", "original", rule="haze", recursive=True),
            Place("moceir", ("dehazing/RESIDE/clear",), ("dehazing/RESIDE/part*",), rule="haze"),
        ),
        count=72135,  # 2061 scenes at 5 airlights and 7 densities
        label="haze",
        variants={313950: "OTS in full, 8970 scenes at 35 settings"},
        reference="RESIDE-beta (Li et al., TIP 2019); PromptIR's data_dir/hazy/hazy_outside.txt",
    )
    for part in ("outdoor", "indoor"):
        promptir = ("test/dehaze",) if part == "outdoor" else ()
        yield Dataset(
            f"sots_{part}/test",
            (
                _pairs("pack", f"dehazing/sots_{part}/test", rule="haze"),
                *(_pairs("promptir", folder, rule="haze") for folder in promptir),
                _pairs("moceir", f"dehazing/SOTS/{part}", "hazy", "gt", rule="haze"),
            ),
            count=500,
            label="haze",
            # Clean indoor images are 640x480, hazy ones 620x460; FFA-Net and others crop the clean one centrally.
            margin=10 if part == "indoor" else 0,
            reference="SOTS of RESIDE (Li et al., TIP 2019)",
        )
    yield Dataset(
        "gopro/train",
        (
            _pairs("pack", "deblurring/gopro/train"),
            _pairs("promptir", "Train/Deblur", "blur", "sharp"),
            _pairs("moceir", "deblurring/GoPro/train"),
        ),
        count=2103,
        label="blur",
        scene=_GOPRO_SCENE,
        reference="Nah et al., CVPR 2017",
    )
    yield Dataset(
        "gopro_crops/train",
        (_pairs("moceir", "deblurring/GoPro/crop/train", "input_crops", "target_crops"),),
        count=16824,
        label="blur",
        scene=_GOPRO_SCENE,
        reference="Nah et al., CVPR 2017; each frame in 4 x 2 crops of 512 pixels, by Restormer's script",
    )
    yield Dataset(
        "gopro/test",
        (
            _pairs("pack", "deblurring/gopro/test"),
            _pairs("promptir", "test/deblur/gopro"),
            _pairs("moceir", "deblurring/GoPro/test"),
        ),
        count=1111,
        label="blur",
        reference="Nah et al., CVPR 2017",
    )
    yield Dataset(
        "lolv1/train",
        (
            _pairs("pack", "lowlight/lolv1/train"),
            _pairs("promptir", "Train/Enhance", "low", "gt"),
            _pairs("moceir", "llie/LOLv1/Train"),
        ),
        count=485,
        label="lowlight",
        reference="LOL, our485 (Wei et al., RetinexNet, BMVC 2018)",
    )
    yield Dataset(
        "lolv1/test",
        (
            _pairs("pack", "lowlight/lolv1/test"),
            _pairs("promptir", "test/enhance/lol"),
            _pairs("moceir", "llie/LOLv1/Test"),
        ),
        count=15,
        label="lowlight",
        reference="LOL, eval15 (Wei et al., RetinexNet, BMVC 2018)",
    )
    for label in CDD11:
        for split, count in (("train", 1183), ("test", 200)):
            yield Dataset(
                f"cdd11_{label}/{split}",
                (
                    _pairs("moceir", f"cdd11/{split}", label, "clear"),
                    _pairs("moceir", f"CDD-11_{split}", label, "clear"),  # as downloaded
                ),
                count=count,
                label=label,
                reference="CDD-11 (Guo et al., OneRestore, ECCV 2024)",
            )


OTHER_FORMS = {"gopro/train": "gopro_crops/train"}
"""The same pairs cut in another way, by name: whoever has only these is told so."""

DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in (*_clean_sets(), *_paired_sets())}
"""All data sets by name, the clean ones first."""


def find_dataset(name: str) -> Dataset:
    """Return a data set by name; raise a UserError with the nearest name if it is unknown."""
    if name not in DATASETS:
        raise UserError(f"dataset {unknown_name(name, DATASETS)}")
    return DATASETS[name]
