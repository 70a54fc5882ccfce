"""What tells variants apart, and their names."""

import pandas as pd

from daair.report import variants


def table(**columns: list) -> pd.DataFrame:
    count = len(next(iter(columns.values())))
    ids = [f"{i // 2:08x}" for i in range(count)]
    facts = {
        "variant": [f"tiny-{name}" for name in ids],
        "id": ids,
        "label": ["tiny"] * count,
        "seed": [0, 1] * (count // 2),
    }
    return pd.DataFrame(facts | columns)


def test_keys_differ_between_variants_and_not_within() -> None:
    runs = table(**{"experts.rank": [4, 4, 8, 8], "train.threads": [1, 2, 1, 2], "train.steps": [9, 9, 9, 9]})
    assert variants.differing(runs, ["experts.rank", "train.threads", "train.steps"]) == ["experts.rank"]


def test_a_group_stands_for_its_keys_and_an_empty_cell_is_a_value() -> None:
    runs = table(
        router=["top1"] * 2 + ["soft"] * 2, **{"router.noise": [1.0, 1.0, None, None], "x.y": [1, 1, None, None]}
    )
    assert variants.differing(runs, ["router", "router.noise", "x.y"]) == ["router", "x.y"]


def test_names_are_short_readable_and_unique() -> None:
    runs = table(
        router=["top1"] * 2 + ["soft"] * 4,
        **{"experts.rank": [4.0] * 2 + [8.0] * 4, "experts.agnostic": [True] * 2 + [False] * 4, "a.rank": [1] * 6},
    )
    first, second, third = variants.names(runs, ["router", "experts.rank", "experts.agnostic"]).values()
    assert first == "top1, rank 4, agnostic true"
    assert second == "soft, rank 8, agnostic false (00000001)" and third == second.replace("1)", "2)")
    assert next(iter(variants.names(runs, ["experts.rank", "a.rank"]).values())) == "experts.rank 4, a.rank 1"
    assert list(variants.names(runs.head(2), []).values()) == ["tiny"]
