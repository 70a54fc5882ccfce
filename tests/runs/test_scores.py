"""The table of one run."""

import io

import pandas as pd
from rich.console import Console
from synthetic import rows

from daair.runs import scores


def test_the_table_of_one_run() -> None:
    means = scores.per_benchmark(pd.DataFrame(rows([30.0, 31.0]) + rows([25.0], "rain100l", tile=512)))
    assert scores.texts(means) == (
        ["benchmark", "protocol", "images", "tile", "input PSNR", "input SSIM", "PSNR", "SSIM", "gain dB"],
        [
            ["cbsd68_sigma25", "promptir", "2", "whole", "20.00", "0.5000", "30.50", "0.3050", "+10.50"],
            ["rain100l", "promptir", "1", "512", "20.00", "0.5000", "25.00", "0.2500", "+5.00"],
        ],
    )
    assert "tile" not in scores.texts(means[:1])[0]
    assert "+10.50" in shown(rows([30.0, 31.0]))


def test_tables_that_were_put_together_are_averaged_each_for_itself() -> None:
    """They have the same row numbers, as those of several benchmarks that were just measured."""
    parts = [pd.DataFrame(rows([psnr, psnr + 2], name)) for name, psnr in (("rain100l", 30.0), ("gopro", 20.0))]
    assert scores.per_benchmark(pd.concat(parts))["psnr"].tolist() == [31.0, 21.0]


def shown(table: list[dict]) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    scores.show(pd.DataFrame(table), console)
    return console.export_text()


def test_values_that_are_not_finite_are_counted_and_named_and_in_no_mean() -> None:
    inf, nan = float("inf"), float("nan")
    table = rows({"a.png": 30.0, "black.png": inf, "c.png": 32.0}) + rows([nan], "rain100l", input_psnr=inf)
    said = shown(table)
    first, second = (line for line in said.splitlines() if "promptir" in line)
    assert [cell.strip() for cell in first.split("│")[3:9]] == ["3", "20.00", "0.5000", "31.00", "0.3100", "+11.00"]
    assert [cell.strip() for cell in second.split("│")[3:9]] == ["1", "–", "0.5000", "–", "–", "–"]
    assert (
        "PSNR: 2 values not finite, left out of the mean: cbsd68_sigma25 black.png (inf), rain100l 0.png (nan)." in said
    )
    assert "input PSNR: 1 value not finite, left out of the mean: rain100l 0.png (inf)." in said
    assert "not finite" not in shown(rows([30.0], lpips=nan)), "what was not measured is no value"


def test_metrics_that_were_asked_for_come_last_with_the_input_first() -> None:
    means = scores.per_benchmark(pd.DataFrame(rows([30.0], input_lpips=0.5, lpips=0.25, mae=0.01, input_mae=0.04)))
    headings, (row,) = scores.texts(means)
    assert headings[-5:] == ["gain dB", "input MAE", "MAE", "input LPIPS", "LPIPS"]
    assert row[-5:] == ["+10.00", "0.0400", "0.0100", "0.5000", "0.2500"]
