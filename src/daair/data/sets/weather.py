"""Pairs of rain, haze, snow and drops on the lens, and CDD-11, which has several at once."""

from collections.abc import Iterator

from daair.data.sets.places import Dataset, pairs, released

CDD11 = (
    *("low", "haze", "rain", "snow"),
    *("low_haze", "low_rain", "low_snow", "haze_rain", "haze_snow"),
    *("low_haze_rain", "low_haze_snow"),
)
"""Degradations of CDD-11 as its folders name them (Guo et al., OneRestore, ECCV 2024)."""


def sets() -> Iterator[Dataset]:
    """Yield the sets of pairs of weather."""
    for name, label in (("l", "Light"), ("h", "Heavy")):
        yield from _rain100(name, label)
    yield from _more_rain()
    yield from _haze()
    yield from _snow()
    yield from _cdd11()


def _rain100(kind: str, label: str) -> Iterator[Dataset]:
    """Yield the training and the test set of Rain100L or Rain100H; their archives' inputs are called norain-1x2."""
    light, big, name = kind == "l", kind.upper(), f"rain100{kind}"
    train_places = (
        (pairs("promptir", "Train/Derain", "rainy", "gt", rule="rain"),)
        if light
        else (pairs("promptir", "Train/Derain/RainTrainH", "rainy", "gt", rule="rain"),)
    )
    yield Dataset(
        f"{name}/train",
        (
            pairs("pack", f"deraining/{name}/train", rule="rain"),
            *train_places,
            pairs("moceir", f"deraining/RainTrain{big}", "rainy", "gt", rule="rain"),
            *released((f"rain_data_train_{label}",), "rain", "norain", rule="scale", recursive=True),
            *released((f"RainTrain{big}",), "rainy", "gt", rule="rain"),
        ),
        count=200 if light else 1800,
        label="rain",
        variants={1800: "RainLight, the authors' later set"}
        if light
        else {1254: "without the 546 pairs whose scenes are in Rain100H's test part (PReNet)"},
        reference="RainTrainL (Yang et al., JORDER, CVPR 2017); PromptIR's data_dir/rainy/rainTrain.txt lists 200"
        if light
        else "RainTrainH (Yang et al., JORDER, CVPR 2017); PReNet's README on the overlap",
    )
    yield Dataset(
        f"{name}/test",
        (
            pairs("pack", f"deraining/{name}/test", rule="rain"),
            pairs("promptir", f"test/derain/Rain100{big}", rule="rain"),
            *((pairs("promptir", "test/derain", rule="rain"),) if light else ()),
            pairs("moceir", f"deraining/Rain100{big}", "rainy", "gt", rule="rain"),
            *released((f"rain_data_test_{label}",), "rain", "norain", rule="scale", recursive=True),
            *released((f"Rain100{big}", f"test/Rain100{big}"), "input", "target", rule="rain"),
            *released((f"Rain100{big}",), "rainy", "", rule="rain", files=r"(no)?rain-?\d+\.\w+"),  # PReNet
        ),
        count=100,
        label="rain",
        input_psnr={"basicsr_y": 26.90} if light else {},
        variants={200: f"the authors' later test set of Rain{label}, on which figures are not comparable"},
        reference="Yang et al., JORDER, CVPR 2017"
        + ("; input PSNR: RCDNet (Wang et al., CVPR 2020), table of Rain100L" if light else ""),
    )


def _more_rain() -> Iterator[Dataset]:
    for split, folder, count in (("train", "training", 12600), ("test", "testing", 1400)):  # 14 kinds of rain each
        yield Dataset(
            f"rain1400/{split}",
            (
                pairs("pack", f"deraining/rain1400/{split}", rule="haze"),
                *released(
                    tuple(f"{top}/{folder}" for top in ("rainy_image_dataset", "Rain1400")),
                    "rainy_image",
                    "ground_truth",
                    rule="haze",
                ),
            ),
            count=count,
            label="rain",
            reference="Fu et al., DDN, CVPR 2017",
        )
    tops = ("Outdoor-Rain", "CVPR19RainTrain")
    for split, count in (("train", 9000), ("test", 1500)):
        yield Dataset(
            f"outdoor_rain/{split}",
            (
                pairs("pack", f"deraining/outdoor_rain/{split}", rule=r"(.+?)_s\d+_a\d+ -> \1"),
                *(
                    place
                    for input in ("in", "input", "data")
                    for place in released(
                        tuple(f"{top}/{split}" for top in tops), input, "gt", rule=r"(.+?)_s\d+_a\d+ -> \1"
                    )
                ),
            ),
            count=count,
            label="rain",
            variants={750: "Test1, as in All-in-One, TransWeather and WeatherDiffusion"} if split == "test" else {},
            reference="Outdoor-Rain, rain with its haze (Li et al., CVPR 2019)",
        )
    tops = ("raindrop_data", "RainDrop", "raindrop")
    for name, folder, count in (("raindrop/train", "train", 861), ("raindrop_a/test", "test_a", 58),
                                ("raindrop_b/test", "test_b", 249)):  # fmt: skip
        yield Dataset(
            name,
            (
                pairs("pack", f"raindrop/{folder}", rule=r"(.+)_rain -> \1_clean"),
                *released(tuple(f"{top}/{folder}" for top in tops), "data", "gt", rule=r"(.+)_rain -> \1_clean"),
            ),
            count=count,
            label="raindrop",
            reference="Qian et al., CVPR 2018; drops of water on a pane before the lens",
        )


def _haze() -> Iterator[Dataset]:
    yield Dataset(
        "ots/train",
        (
            pairs("pack", "dehazing/ots/train", rule="haze", recursive=True),
            pairs("promptir", "Train/Dehaze", "synthetic", "original", rule="haze", recursive=True),
            pairs("moceir", "dehazing/RESIDE", "part*", "clear", rule="haze"),
            *(
                place
                for input in ("hazy", "haze", "part*")
                for place in released(("OTS_BETA", "OTS", "RESIDE/OTS"), input, "clear", rule="haze", recursive=True)
            ),
        ),
        count=72135,  # 2061 scenes at 5 airlights and 7 densities
        label="haze",
        variants={313950: "OTS in full, 8970 scenes at 35 settings"},
        reference="RESIDE-beta (Li et al., TIP 2019); PromptIR's data_dir/hazy/hazy_outside.txt",
    )
    yield Dataset(
        "its/train",
        (
            pairs("pack", "dehazing/its/train", rule="haze"),
            *(
                place
                for input, target in (("hazy", "clear"), ("train/ITS_haze", "train/ITS_clear"), ("haze", "clear"))
                for place in released(("ITS_v2", "ITS", "RESIDE/ITS"), input, target, rule="haze")
            ),
        ),
        count=13990,  # 1399 scenes, 10 settings each
        label="haze",
        variants={13000: "the training part of the first release, without its 990 for validation"},
        reference="ITS of RESIDE (Li et al., TIP 2019), indoors",
    )
    for part in ("outdoor", "indoor"):
        promptir = ("test/dehaze",) if part == "outdoor" else ()
        names = (f"{part}/nyuhaze500", part) if part == "indoor" else (part,)
        tops = tuple(f"{top}{name}" for top in ("SOTS/", "RESIDE/SOTS/", "") for name in names)
        yield Dataset(
            f"sots_{part}/test",
            (
                pairs("pack", f"dehazing/sots_{part}/test", rule="haze"),
                *(pairs("promptir", folder, rule="haze") for folder in promptir),
                pairs("moceir", f"dehazing/SOTS/{part}", "hazy", "gt", rule="haze"),
                *(place for target in ("gt", "clear") for place in released(tops, "hazy", target, rule="haze")),
            ),
            count=500,
            label="haze",
            # Clean indoor images are 640x480, hazy ones 620x460; FFA-Net and others crop the clean one centrally.
            margin=10 if part == "indoor" else 0,
            reference="SOTS of RESIDE (Li et al., TIP 2019)",
        )


def _snow() -> Iterator[Dataset]:
    reference = "Snow100K (Liu et al., DesnowNet, TIP 2018)"
    yield Dataset(
        "snow100k/train",
        (
            pairs("pack", "desnowing/snow100k/train"),
            *released(("Snow100K-training/all", "Snow100K/all", "Snow100K/train", "all"), "synthetic", "gt"),
        ),
        count=50000,
        label="snow",
        reference=reference,
    )
    inner = "media/jdway/GameSSD/overlapping/test"  # the path within the authors' archive
    tops = (
        inner,
        f"Snow100K-testset/{inner}",
        f"Snow100K/{inner}",
        "Snow100K/test",
        "Snow100K-testset",
        "Snow100K",
        "test",
    )
    for size, count in (("S", 16611), ("M", 16588), ("L", 16801)):
        yield Dataset(
            f"snow100k_{size.lower()}/test",
            (
                pairs("pack", f"desnowing/snow100k_{size.lower()}/test"),
                *released(tuple(f"{top}/Snow100K-{size}" for top in tops), "synthetic", "gt"),
            ),
            count=count,
            label="snow",
            reference=reference,
        )


def _cdd11() -> Iterator[Dataset]:
    for label in CDD11:
        for split, count in (("train", 1183), ("test", 200)):
            yield Dataset(
                f"cdd11_{label}/{split}",
                (
                    pairs("moceir", f"cdd11/{split}", label, "clear"),
                    *released((f"CDD-11_{split}", f"CDD-11/CDD-11_{split}"), label, "clear"),
                ),
                count=count,
                label=label,
                reference="CDD-11 (Guo et al., OneRestore, ECCV 2024)",
            )
