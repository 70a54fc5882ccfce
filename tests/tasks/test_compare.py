"""task=compare: what it says of two runs, what it writes, and which folders it refuses."""

from pathlib import Path

import pandas as pd
import pytest
import studies

from daair.config import typed
from daair.config.jobs import Command
from daair.errors import UserError
from daair.runs.record import Record
from daair.tasks.compare import compare


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    studies.make_run(root, "rank2-00000002", 0, {"experts.rank": 2}, 3.0, pictures=False)
    studies.make_run(root, "rank8-00000008", 0, {"experts.rank": 8, "choices.router": "soft"}, 3.5, pictures=False)
    return root / "rank"


def run(runs: Path, *words: str) -> int:
    (job,) = Command.parse(typed.read(["task=compare", f"paths.runs={runs.parent}", *words])).jobs
    return compare(job)


def test_what_differs_is_told(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    first, second = runs / "rank2-00000002" / "seed0", runs / "rank8-00000008" / "seed0"
    moved = (tmp_path / "mine (old)").resolve()
    second.rename(moved)
    try:
        before = {file: file.read_bytes() for folder in (first, moved) for file in folder.rglob("*") if file.is_file()}
        assert run(runs, f"runs=[{first},{moved}]", f"output={tmp_path}/out") == 0
        assert before == {file: file.read_bytes() for file in before}
    finally:
        moved.rename(second)
    said = capsys.readouterr().out
    assert f"B  {moved}  (done, 100 of 100 updates)" in said
    text = (tmp_path / "out" / "compare.md").read_text()
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    table = {line[0]: line[1:] for line in lines if len(line) == 3}
    assert table["experts.rank"] == ["2", "8"] and "experts.count" not in table and "seed" not in table
    (psnr,) = [line for line in lines if line[:3] == ["demo_rain", "promptir", "PSNR"]]
    assert psnr[3:] == ["4", "25.50", "26.00", "+0.50 (+0.50 to +0.50)"]  # 20 + 1.5 + 3 + 1 dB, and 0.5 more
    curve = {line[0]: line[1:] for line in lines if len(line) == 5}
    logged = {row["step"]: row["val/psnr"] for row in Record(first).metrics() if "val/psnr" in row}
    assert [curve[str(step)][0] for step in logged] == [f"{value:.4g}" for value in logged.values()]
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"compare.md", "curves.pdf", "curves.png"}


def test_only_images_of_all_runs_count(tmp_path: Path) -> None:
    for name, gain in (("a-0000000a", 3.0), ("b-0000000b", 4.0)):
        record = studies.make_run(tmp_path, name, 0, {}, gain, pictures=False)
    rows = pd.read_csv(record.results_file)
    rows.loc[rows["image"] == "0.png", "psnr"] = float("inf")
    rows[rows["image"] != "1.png"].to_csv(record.results_file, index=False)
    a, b = (tmp_path / "rank" / name / "seed0" for name in ("a-0000000a", "b-0000000b"))
    assert run(tmp_path / "rank", f"runs=[{a},{b}]", "collate.metrics=[gain]") == 0
    (found,) = (tmp_path / "compare").iterdir()
    (line,) = [line for line in (found / "compare.md").read_text().splitlines() if line.startswith("| demo_rain ")]
    assert line.split(" | ")[3] == "2" and "+1.00" in line


def made(root: Path, *gains: float) -> list[Record]:
    """Runs of the study `rank` that restore so much better than their input."""
    names = (f"{chr(ord('a') + i)}-0000000{i:x}" for i in range(len(gains)))
    return [studies.make_run(root, name, 0, {}, gain, pictures=False) for name, gain in zip(names, gains, strict=True)]


def compared(records: list[Record]) -> str:
    """Compare the runs, and return compare.md."""
    runs = records[0].folder.parents[1]
    assert run(runs, f"runs=[{','.join(str(record.folder) for record in records)}]") == 0
    (found,) = (runs.parent / "compare").iterdir()
    return (found / "compare.md").read_text()


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("input_psnr", 35.0, "demo_rain, promptir: 0.png has another degraded input in B than in A"),
        ("width", 64, "demo_rain, promptir: 0.png has another size in B than in A"),
        ("tile", 128, "demo_rain, promptir: tiles: whole in A, tiles: 128 in B"),
    ],
)
def test_what_was_measured_otherwise_gets_no_difference(tmp_path: Path, column: str, value: float, why: str) -> None:
    records = made(tmp_path, 3.0, 4.0)
    rows = pd.read_csv(records[1].results_file)
    rows.loc[rows["benchmark"] == "demo_rain", column] = value
    rows.to_csv(records[1].results_file, index=False)
    text = compared(records)
    lines = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if " | PSNR | " in line}
    assert f"no difference: {why}" in text and lines.pop("demo_rain").endswith("| – |")
    assert lines and all("+1.00" in line for line in lines.values())


def test_a_run_without_results_is_told_and_the_others_are_compared(tmp_path: Path) -> None:
    records = made(tmp_path, 3.0, 4.0, 5.0)
    records[1].results_file.unlink()
    text = compared(records)
    assert "B  has no results" in text and "C − A" in text and "+2.00" in text


def test_more_runs_than_lines_can_be_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert "| J |" in compared(made(tmp_path, *range(10)))
    assert "curves: more than 9 lines" in capsys.readouterr().out.replace("not drawn: ", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("runs=[{0},{0}/]", "runs: a run is named twice"),
        ("runs=[{0},{1}]", r"rank8-00000008: is not a run's folder; did you mean .*/rank8-00000008/seed0\?"),
        ("runs=[{0},{0}1]", r"seed01: no such folder; did you mean .*/rank2-00000002/seed0\?"),
        ("runs=[{0}]", "runs: must have at least 2"),
        ("study=x", "runs: missing; task=compare needs runs="),
    ],
)
def test_wrong_folders_are_refused(runs: Path, words: str, message: str) -> None:
    places = (runs / "rank2-00000002" / "seed0", runs / "rank8-00000008")
    with pytest.raises(UserError, match=message) as caught:
        run(runs, words.format(*places))
    assert "\n" not in str(caught.value)
