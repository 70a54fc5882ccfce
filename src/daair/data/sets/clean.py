"""Sets of clean photographs."""

from collections.abc import Iterator

from daair.data.sets.places import Dataset, clean

_BSD_NAME = r"a?[1-9]\d{3,5}\.\w+"  # BSDS500's numbers; PromptIR's list of training images has an "a" before them
_WED_NAME = r"0\d{4}\.\w+"  # 00001.bmp to 04744.bmp, as in PromptIR's list

BSD400 = ("BSR/BSDS500/data/images/train", "BSR/BSDS500/data/images/test")  # without its part `val`, in which CBSD68 is
WED = ("exploration_database_and_code/pristine_images", "WaterlooED", "WED")
DIV2K = ("DIV2K/DIV2K_train_HR", "DIV2K_train_HR")
FLICKR2K = ("Flickr2K/Flickr2K_HR", "Flickr2K_HR", "Flickr2K")


def sets() -> Iterator[Dataset]:
    """Yield the sets of clean photographs, for training and for tests of what degrades them."""
    yield from _training()
    yield from _tests()


def _training() -> Iterator[Dataset]:
    yield Dataset(
        "clean/train",
        (
            clean("pack", "train/clean"),
            clean("promptir", "Train/Denoise"),
            clean("moceir", "denoising/BSD400", "denoising/WaterlooED"),
            clean("moceir", "denoising/BSD400"),
            clean("moceir", "denoising/WaterlooED"),
            clean("released", *BSD400, "BSD400", *WED, some=True),
            clean("released", *DIV2K, *FLICKR2K, some=True),
        ),
        reference="all clean training photographs of a layout; BSD400 and WED in the papers' layouts",
    )
    yield Dataset(
        "clean/val",
        (clean("pack", "val/clean"), *(clean("released", top) for top in ("DIV2K/DIV2K_valid_HR", "DIV2K_valid_HR"))),
        reference="held-out photographs of the pack; the 100 of DIV2K",
    )
    yield Dataset(
        "bsd400/train",
        (
            clean("pack", "denoising/bsd400"),
            clean("promptir", "Train/Denoise", files=_BSD_NAME),
            clean("moceir", "denoising/BSD400"),
            clean("released", *BSD400),
            clean("released", "BSD400"),
        ),
        count=400,
        reference="BSDS500 (Arbelaez et al., TPAMI 2011), train and test parts; PromptIR's data_dir/noisy/denoise.txt",
    )
    yield Dataset(
        "wed/train",
        (
            clean("pack", "denoising/wed"),
            clean("promptir", "Train/Denoise", files=_WED_NAME),
            clean("moceir", "denoising/WaterlooED"),
            *(clean("released", folder) for folder in WED),
        ),
        count=4744,
        reference="Waterloo Exploration Database (Ma et al., TIP 2017); PromptIR's data_dir/noisy/denoise.txt",
    )
    for name, count, folders, reference in (
        ("div2k", 800, DIV2K, "DIV2K (Agustsson and Timofte, NTIRE 2017), training images"),
        ("flickr2k", 2650, FLICKR2K, "Flickr2K (Lim et al., EDSR, CVPRW 2017)"),
    ):
        yield Dataset(
            f"{name}/train",
            (clean("pack", f"denoising/{name}"), *(clean("released", folder) for folder in folders)),
            count=count,
            reference=reference,
        )


def _tests() -> Iterator[Dataset]:
    yield Dataset(
        "cbsd68/test",
        (
            clean("pack", "denoising/cbsd68"),
            clean("promptir", "test/denoise/bsd68"),
            clean("promptir", "test/denoise/cbsd68"),
            clean("promptir", "test/denoise", files=_BSD_NAME),  # AirNet has no folder for each set
            clean("moceir", "denoising/cBSD68/original_png"),
            clean("released", "CBSD68/original_png"),
            clean("released", "CBSD68"),
        ),
        count=68,
        reference="Martin et al., ICCV 2001; the 68 images of Roth and Black, in colour",
    )
    for name, count, pattern, reference in (
        ("kodak24", 24, None, "Kodak lossless true colour images (Franzen)"),
        ("mcmaster", 18, None, "McMaster (Zhang et al., JEI 2011)"),
        ("urban100", 100, r"img_?\d+.*", "Urban100 (Huang et al., CVPR 2015)"),
    ):
        shared = (clean("promptir", "test/denoise", files=pattern),) if pattern else ()
        yield Dataset(
            f"{name}/test",
            (
                clean("pack", f"denoising/{name}"),
                clean("promptir", f"test/denoise/{name}"),
                *shared,
                clean("moceir", f"denoising/{name}"),
                clean("released", name),
            ),
            count=count,
            reference=reference,
        )
