"""Pairs of motion blur, low light and noise of a sensor."""

from collections.abc import Iterator

from daair.data.sets.places import Dataset, pairs, released

_GOPRO_SCENE = r"(GOPR\d+_\d+_\d+)"  # GOPR0372_07_00-000047.png is a frame of the sequence GOPR0372_07_00


def sets() -> Iterator[Dataset]:
    """Yield the sets of pairs of what a camera does."""
    yield from _gopro()
    yield from _realblur()
    yield from _lol()
    yield from _sidd()


def _gopro() -> Iterator[Dataset]:
    tops, reference = ("GOPRO_Large", "GoPro", "GOPRO"), "Nah et al., CVPR 2017"
    counts = {"train": 2103, "test": 1111}
    promptir = {
        "train": pairs("promptir", "Train/Deblur", "blur", "sharp"),
        "test": pairs("promptir", "test/deblur/gopro"),
    }
    for split, count in counts.items():
        yield Dataset(
            f"gopro/{split}",
            (
                pairs("pack", f"deblurring/gopro/{split}"),
                promptir[split],
                pairs("moceir", f"deblurring/GoPro/{split}"),
                *released(tops, f"{split}/GOPR*/blur", f"{split}/GOPR*/sharp"),
                *released(("",), f"{split}/GOPR*/blur", f"{split}/GOPR*/sharp"),
            ),
            count=count,
            label="blur",
            scene=_GOPRO_SCENE,
            reference=f"{reference}; the folders `blur`, as MPRNet (its issue 75) and its successors",
        )
    yield Dataset(
        "gopro_crops/train",
        (pairs("moceir", "deblurring/GoPro/crop/train", "input_crops", "target_crops"),),
        count=16824,
        label="blur",
        scene=_GOPRO_SCENE,
        reference="Nah et al., CVPR 2017; each frame in 4 x 2 crops of 512 pixels, by Restormer's script",
    )
    for split, count in counts.items():
        yield Dataset(
            f"gopro_gamma/{split}",
            released((*tops, ""), f"{split}/GOPR*/blur_gamma", f"{split}/GOPR*/sharp"),
            count=count,
            label="blur",
            scene=_GOPRO_SCENE,
            reference=f"{reference}; the folders `blur_gamma`, as the authors (DeepDeblur-PyTorch's issue 4)",
        )


def _realblur() -> Iterator[Dataset]:
    for kind, folder in (
        ("J", "RealBlur-J_ECC_IMCORR_centroid_itensity_ref"),
        ("R", "RealBlur-R_BM3D_ECC_IMCORR_centroid_itensity_ref"),
    ):
        for split, count in (("train", 3758), ("test", 980)):
            lists = {top: f"{top}RealBlur_{kind}_{split}_list.txt" for top in ("RealBlur/", "")}
            ready = (
                released((f"RealBlur_{kind}", f"test/RealBlur_{kind}"), "input", "target") if split == "test" else ()
            )
            yield Dataset(
                f"realblur_{kind.lower()}/{split}",
                (
                    pairs("pack", f"deblurring/realblur_{kind.lower()}/{split}"),
                    *(
                        pairs(
                            "released",
                            f"{top}{folder}/scene*",
                            "blur",
                            "gt",
                            rule=r"blur_(.+) -> gt_\1",
                            listed=listed,
                        )
                        for top, listed in lists.items()
                    ),
                    *ready,
                ),
                count=count,
                label="blur",
                scene=r"(scene\d+)",
                reference="Rim et al., ECCV 2020; the authors' lists say which pairs are for training",
            )


def _lol() -> Iterator[Dataset]:
    tops = ("LOLdataset", "LOL_dataset", "LOL", "LOLv1", "")
    for split, count, folder, promptir, moceir in (
        ("train", 485, "our485", pairs("promptir", "Train/Enhance", "low", "gt"), "Train"),
        ("test", 15, "eval15", pairs("promptir", "test/enhance/lol"), "Test"),
    ):
        yield Dataset(
            f"lolv1/{split}",
            (
                pairs("pack", f"lowlight/lolv1/{split}"),
                promptir,
                pairs("moceir", f"llie/LOLv1/{moceir}"),
                *released(tops, f"{folder}/low", f"{folder}/high"),
            ),
            count=count,
            label="lowlight",
            reference=f"LOL, {folder} (Wei et al., RetinexNet, BMVC 2018)",
        )
    for kind, folder, rule, train in (
        ("real", "Real_captured", r"low(.+) -> normal\1", 689),
        ("syn", "Synthetic", "same", 900),
    ):
        for split, count in (("Train", train), ("Test", 100)):
            yield Dataset(
                f"lolv2_{kind}/{split.lower()}",
                (
                    pairs("pack", f"lowlight/lolv2_{kind}/{split.lower()}", rule=rule),
                    *released(("LOL-v2", "LOLv2", ""), f"{folder}/{split}/Low", f"{folder}/{split}/Normal", rule=rule),
                ),
                count=count,
                label="lowlight",
                reference="LOL-v2 (Yang et al., TIP 2021)",
            )


def _sidd() -> Iterator[Dataset]:
    names = {"files": r"(\d+_)?GT_SRGB_\d+\.png", "inputs": r"(\d+_)?NOISY_SRGB_\d+\.png"}
    yield Dataset(
        "sidd/train",
        (
            pairs("pack", "denoising/sidd/train"),
            *(
                place
                for top in ("SIDD_Medium_Srgb", "SIDD_Small_sRGB_Only")
                for place in released(
                    (f"{top}/Data", f"SIDD/{top}/Data"), "*", "*", rule=r"(.*)NOISY(.+) -> \1GT\2", **names
                )
            ),
        ),
        count=320,
        label="real_noise",
        variants={160: "SIDD-Small, one pair of each of the 160 scenes instead of two"},
        scene=r"/\d{4}_(\d{3})_",  # 0001_001_S6_...: instance, then scene
        reference="SIDD, sRGB (Abdelhamed et al., CVPR 2018); its validation and test blocks are MATLAB files",
    )
