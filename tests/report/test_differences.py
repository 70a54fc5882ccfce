"""What a table says about differences to its reference: intervals of averages, in a note and in the report."""

import math
from pathlib import Path

import pytest
from scipy import stats
from synthetic import make_run, rows

from daair.config.table_look import TableLook
from daair.report import layout
from daair.report.differences import intervals
from daair.report.frame import frame
from daair.report.table import TableSpec, study_table

SIX = (30.0, 31.0, 32.0, 33.0, 34.0, 35.0)
GAINS = {4: [0.0] * 3, 8: [0.1, 0.3, 0.5], 16: [0.0, 0.2]}  # dB on each of six images, by rank and seed


def test_an_average_has_the_interval_of_a_t_test_over_seeds_and_no_test(tmp_path: Path) -> None:
    for rank, gains in GAINS.items():
        for seed, gain in enumerate(gains):
            table = rows([value + gain for value in SIX]) + rows([20.0 + 2 * gain], "rain100l")
            make_run(tmp_path, f"a-{rank:08x}", seed, table, experts={"rank": rank})
    study = study_table(frame(tmp_path, "rank"), TableSpec(reference={"experts.rank": 4}, resamples=200), "rank")
    numbers = study.numbers[(study.numbers["column"] == -1) & (study.numbers["metric"] == "psnr")].set_index("row")
    average, of_seeds = numbers.loc[1], [1.5 * gain for gain in GAINS[8]]  # the second column gains twice as much
    low, high = stats.ttest_1samp(of_seeds, 0).confidence_interval()
    assert (average["delta"], average["delta_low"], average["delta_high"]) == pytest.approx((0.45, low, high))
    assert math.isnan(average["p"]) and math.isnan(average["p_holm"]) and average["seeds_agreeing"] == 3
    assert math.isnan(numbers.loc[2, "delta_low"]), "two seeds"
    notes = [note for note in layout.notes(study) if "intervals of Δ" in note]
    assert notes == [
        "95 % intervals of Δ average for other seeds and these images (t test over seeds, not corrected for their "
        "number): 8 −0.30 to +1.20."
    ]
    assert not [note for note in layout.notes(study, TableLook(hide=("delta",))) if "intervals of Δ" in note]
    shown = [[one.text for one in line] for line in intervals(study).rows if line[1].text == "average"]
    assert shown[0][3:6] == ["+0.45", "−0.30 to +1.20", "–"] and shown[0][-3:] == ["–", "these", "3"]
