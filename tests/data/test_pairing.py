"""Names give pairs, by the rules of the data sets in circulation."""

import unicodedata
from pathlib import Path

import pytest

from daair.data.pairing import best_rule, check_rule, likely_rule, pair
from daair.errors import UserError


@pytest.mark.parametrize(
    ("rule", "name", "target"),
    [
        ("same", "7.png", "7.jpg"),
        ("rain", "rain-001.png", "norain-001.png"),
        ("rain", "1.png", "1.png"),
        ("haze", "0001_0.8_0.2.jpg", "0001.png"),
        ("haze", "1400_3.png", "1400.png"),
        ("scale", "norain-001x2.png", "norain-001.png"),
        ("scale", "baby_LRBI_x2.png", "baby.png"),
    ],
)
def test_a_rule_gives_the_target(rule, name, target):
    inputs, targets = [Path("in", name)], [Path("out", target), Path("out", "other.png")]
    found = pair(inputs, targets, rule)
    assert [(one.name, one.input, one.target) for one in found.pairs] == [(name, inputs[0], targets[0])]
    assert found.lone_targets == targets[1:] and not found.lone_inputs
    assert pair(inputs, targets, best_rule(inputs, targets)) == found


def test_folders_and_suffixes_decide_between_targets_of_one_name():
    targets = [Path(name) for name in ("clean/a/1.png", "clean/b/1.png", "clean/b/1.jpg")]
    found = pair([Path("rainy/b/1.jpg"), Path("rainy/a/1.jpg")], targets)
    assert [(one.name, one.target) for one in found.pairs] == [("a/1.jpg", targets[0]), ("b/1.jpg", targets[2])]


def test_a_missing_target_is_not_that_of_another_scene():
    """GoPro counts its frames anew in each scene."""
    inputs = [Path(scene, "blur", f"{frame}.png") for scene in "ab" for frame in range(8)]
    targets = [Path(scene, "sharp", f"{frame}.png") for scene in "ab" for frame in range(8)]
    targets.remove(Path("b/sharp/3.png"))
    found = pair(inputs, targets)
    assert found.lone_inputs == [Path("b/blur/3.png")] and len(found.pairs) == 15 and not found.lone_targets
    assert all(one.input.parts[0] == one.target.parts[0] for one in found.pairs)


def test_targets_may_be_sorted_into_other_folders_than_the_inputs():
    inputs = [Path("rainy", "am" if k < 5 else "pm", f"{k}.png") for k in range(8)]
    targets = [Path("clean", "odd" if k % 2 else "even", f"{k}.png") for k in range(8)]
    assert not pair(inputs, targets).lone_inputs


def test_an_unknown_rule_is_refused():
    with pytest.raises(UserError, match="^rule: 'rian' is unknown; did you mean rain?"):
        check_rule("rian")
    with pytest.raises(UserError, match="^rule: 'zzz' is unknown; known are same, rain, haze, scale .one of your own"):
        pair([], [], "zzz")


def test_a_rule_of_ones_own_gives_the_target():
    found = pair([Path("in/7_s2_a1.png"), Path("in/x.png")], [Path("out/7.png")], r"(.+)_s\d+_a\d+ -> \1")
    assert [(one.input.name, one.target.name) for one in found.pairs] == [("7_s2_a1.png", "7.png")]
    assert found.lone_inputs == [Path("in/x.png")]


@pytest.mark.parametrize("rule", ["(.+ -> x", r"(.+)_s -> \2", r"x -> \1"])
def test_a_rule_that_cannot_be_read_is_refused(rule):
    with pytest.raises(UserError, match="^rule: '.*' is not a regular expression and a name"):
        check_rule(rule)


def test_names_that_look_equal_are_equal():
    composed, decomposed = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    assert composed != decomposed
    for one, other in ((composed, decomposed), (decomposed, composed)):
        assert pair([Path("in", f"{one}.png")], [Path("out", f"{other}.png")]).pairs
        assert pair([Path("in", f"{one}x2.png")], [Path("out", f"{other}.png")], f"({other})x2 -> \\1").pairs


@pytest.mark.parametrize(
    ("inputs", "targets", "rule"),
    [
        (["im_0001_s80_a04", "im_0002_s95_a06"], ["im_0001", "im_0002"], r"(.+)_s\d+_a\d+ -> \1"),  # Outdoor-Rain
        (["0_rain", "1_rain"], ["0_clean", "1_clean"], r"(.+)rain -> \1clean"),  # Raindrop
        (["01_hazy", "02_hazy"], ["01_GT", "02_GT"], r"(.+)hazy -> \1GT"),  # NH-HAZE, O-HAZE
        (["low00001", "low00002"], ["normal00001", "normal00002"], r"low(.+) -> normal\1"),  # LOL-v2-real
        (["blur_1", "blur_12"], ["gt_1", "gt_12"], r"blur(.+) -> gt\1"),  # RealBlur
        (["NOISY_SRGB_010", "NOISY_SRGB_011"], ["GT_SRGB_010", "GT_SRGB_011"], r"NOISY(.+) -> GT\1"),  # SIDD
        (["a", "b"], ["c", "d"], None),
        (["1", "2"], ["1"], None),
        (["rain-1", "rain-2"], ["norain-2"], None),
        (["a\\b1"], ["c\\b1"], r"a(.+) -> c\1"),
    ],
)
def test_names_of_benchmarks_give_a_rule_of_ones_own(inputs: list[str], targets: list[str], rule: str | None) -> None:
    found = likely_rule(*([Path(f"{name}.png") for name in names] for names in (inputs, targets)))
    assert found == rule
