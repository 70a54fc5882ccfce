"""task=collate: the files it writes, what it says, and that the runs' folders stay as they were."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from helpers import job
from synthetic import make_run, rows

from daair.cli import conf_dir
from daair.config.jobs import Command, Composer
from daair.config.validate import validate
from daair.errors import UserError
from daair.report.frame import frame
from daair.tasks import collate as task
from daair.tasks import study_files

TABLES = {"runs.parquet", "runs.csv", "table.md", "table.tex", "table.csv", "report.html"}


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("daair.report.figures.draw", lambda *_, **__: [])  # has tests of its own
    own = {
        "rows": ["experts.rank"],
        "reference": {"experts.rank": 8},
        "columns": None,
        "metrics": None,
        "published": None,
    }
    for rank in (4, 8):
        for seed in (0, 1):
            table = rows([30.0 + rank / 10 + seed, 31.0 + rank / 10]) if (rank, seed) != (4, 1) else None
            status = {} if table else {"state": "interrupted"}
            make_run(
                tmp_path, f"a-0000000{rank}", seed, table, experts={"rank": rank}, collate=own, status=status,
                question="How large?",
            )  # fmt: skip
    return tmp_path


def collate(runs: Path, *overrides: str) -> int:
    composed = Composer(conf_dir()).compose(["task=collate", "study=rank", f"paths.runs={runs}", *overrides])
    return task.collate(job(validate(composed)))


def test_all_files_appear_and_the_runs_stay_as_they_were(runs: Path, capsys: pytest.CaptureFixture) -> None:
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in runs.rglob("*") if p.is_file()}
    assert collate(runs) == 0
    after = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in before}
    assert after == before
    assert {p.name for p in (runs / "rank").glob("[!.]*") if p.is_file()} == TABLES
    said = capsys.readouterr().out
    for text in ("How large?", "PSNR ↑ (dB)", "(1/2)", "Without results: rank/a-00000004/seed1 (interrupted)", "ref."):
        assert text in said
    assert all(str(runs / "rank" / name) in said for name in TABLES)
    assert collate(runs, "collate.alpha=0.01") == 0  # other options, so everything is read again
    assert "left out" not in capsys.readouterr().out  # its own files are no foreign ones


def test_the_frame_is_the_same_in_both_files_and_in_portions(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = frame(runs, "rank").frame
    for portion in (study_files.ROWS, 2):
        monkeypatch.setattr(study_files, "ROWS", portion)
        assert collate(runs) == 0
        stored = pd.read_parquet(runs / "rank" / "runs.parquet")
        pd.testing.assert_frame_equal(stored, expected, check_categorical=False, check_dtype=False)
        text = pd.read_csv(runs / "rank" / "runs.csv", dtype={"variant": str, "id": str})
        assert list(text.columns) == list(expected.columns) and len(text) == len(expected) == 7
        assert text["psnr"].dropna().tolist() == expected["psnr"].dropna().tolist() and text["image"].isna().sum() == 1


def test_the_command_goes_before_the_studys_own(runs: Path) -> None:
    overrides = ["collate.metrics=[ssim]", "collate.rows=[experts.rank,router]", "collate.output=" + str(runs / "here")]
    assert collate(runs, *overrides, "question=Why?") == 0
    text = (runs / "here" / "table.md").read_text()
    assert text.startswith("# Why?") and "PSNR ↑" not in text and "| 4 | top1 |" in text
    assert not (runs / "rank" / "table.md").exists()
    assert collate(runs, "collate.reference={experts.rank:4}") == 0
    assert "| 4 | 30.9" in (runs / "rank" / "table.md").read_text()


def test_a_reference_can_be_left_out_and_does_not_follow_other_rows(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("daair.report.figures.draw", lambda *_, **__: [])
    own = {"rows": ["experts.rank"], "reference": {"experts.rank": 8}}
    for rank in (4, 8):
        make_run(tmp_path, f"rank{rank}-0000000{rank}", 0, rows([30.0]), experts={"rank": rank}, collate=own)
    table = tmp_path / "rank" / "table.md"
    assert collate(tmp_path) == 0 and "ref." in table.read_text()
    assert collate(tmp_path, "collate.reference={}") == 0 and "ref." not in table.read_text()
    for transposed in ([], ["collate.columns=[label]", "collate.rows=[benchmark]"]):
        assert collate(tmp_path, *(transposed or ["collate.rows=[label]"])) == 0
        assert "ref." not in table.read_text(), "the study's reference is of its own rows"
    with pytest.raises(UserError, match=r"is not one of the table's rows \(label\); name a row by these, or write"):
        collate(tmp_path, "collate.rows=[label]", "collate.reference={experts.rank:8}")


def test_a_run_that_cannot_be_read_is_named_below_the_table(runs: Path) -> None:
    torn = runs / "rank" / "a-00000008" / "seed1" / "results.csv"
    torn.write_text(torn.read_text()[:-5])
    assert collate(runs) == 0
    assert (
        "Runs that cannot be read: rank/a-00000008/seed1: results.csv: ends" in (runs / "rank" / "table.md").read_text()
    )


def test_squares_are_those_of_the_command_else_of_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list = []
    monkeypatch.setattr("daair.report.figures.draw", lambda *arguments: given.append(arguments[-1]) or [])
    own = {"crops": {"cbsd68_sigma25": [[1, 2, 16]]}}
    make_run(tmp_path, "a-00000004", 0, rows([30.0]), experts={"rank": 4}, collate=own)
    assert collate(tmp_path) == collate(tmp_path, "collate.crops={cbsd68_sigma25:[0,0,8]}") == 0
    assert given == [own["crops"], {"cbsd68_sigma25": ((0, 0, 8),)}]
    composed = Composer(conf_dir()).compose(["study=rank", f"paths.runs={tmp_path}", "collate.crops={gopro:[0,0,8]}"])
    assert task.collate(job(validate(composed))) == 0, "a sweep whose study has squares of a benchmark without data"
    with pytest.raises(UserError, match="collate.crops: the benchmark is never cbsd68_sigma2; did you mean cbsd68_sig"):
        collate(tmp_path, "collate.crops={cbsd68_sigma2:[0,0,8]}")


def test_what_was_measured_later_is_shown_only_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """task=evaluate adds rows to a run's own; its study's table stays that of the mix's benchmarks."""
    monkeypatch.setattr("daair.report.figures.draw", lambda *_, **__: [])
    mix = {"patch": 64, "root": None, "benchmarks": ["cbsd68_sigma25", "rain100l"]}
    for rank in (4, 8):
        later = rows([40.0], "mine") + rows([41.0], "mine", protocol="basicsr_y") if rank == 4 else []
        table = rows([30.0]) + rows([25.0], "rain100l") + later
        make_run(tmp_path, f"a-0000000{rank}", 0, table, experts={"rank": rank}, mix=mix)
    assert collate(tmp_path) == 0
    header = next(line for line in (tmp_path / "rank" / "table.md").read_text().splitlines() if line.startswith("|"))
    assert header.startswith("| experts.rank | CBSD68 σ=25 | Rain100L | average |")
    assert collate(tmp_path, "benchmarks=[mine]") == 0
    assert "40.00" in (tmp_path / "rank" / "table.md").read_text()
    with pytest.raises(UserError, match="benchmarks: the benchmark is never rain100h; did you mean rain100l"):
        collate(tmp_path, "benchmarks=[rain100h]")


def test_a_refused_table_leaves_the_frame(runs: Path) -> None:
    make_run(runs, "b-00000010", 0, rows([30.0, 31.0], tile=512), experts={"rank": 16})
    with pytest.raises(UserError, match="tiles: whole in rank/a-00000004/seed0, tiles: 512 in rank/b-00000010/seed0"):
        collate(runs)
    assert {p.name for p in (runs / "rank").iterdir() if p.is_file()} == {"runs.parquet", "runs.csv"}


def test_a_heading_for_a_name_that_nothing_has_is_told(runs: Path, capsys) -> None:
    headings = "experts.rnk:rank,psnr:PSNR in dB,label:network,experts.rank:how large"
    for again in (False, True):
        assert collate(runs, f"collate.table.names={{{headings}}}", "collate.rows=[experts.rank]") == 0
        said = capsys.readouterr().out
        told = [line for line in said.splitlines() if line.startswith("warning: collate.table.names")]
        assert told == ["warning: collate.table.names: nothing is called experts.rnk; did you mean experts.rank?"]
        assert "how large" in said and ("nothing has changed" in said) == again


def test_nothing_is_computed_again_while_nothing_has_changed(runs: Path, monkeypatch, capsys) -> None:
    assert collate(runs) == 0
    first = capsys.readouterr().out
    with monkeypatch.context() as patched:
        patched.setattr(study_files, "gather", lambda *_: pytest.fail("reads the runs again"))
        assert collate(runs) == 0
    again = capsys.readouterr().out
    assert again.endswith("(nothing has changed since)\n") and "PSNR ↑ (dB)" in again
    assert all(line in again for line in first.splitlines() if line.startswith(("Protocol", "Bold", str(runs))))
    for change in (
        lambda: (runs / "rank" / "table.md").write_text("edited"),
        lambda: (runs / "rank" / "a-00000004" / "seed0" / "results.csv").touch(),
        lambda: make_run(runs, "b-00000010", 0, rows([30.0, 31.0]), experts={"rank": 16}),
    ):
        change()
        assert collate(runs) == 0 and "nothing has changed" not in capsys.readouterr().out
        assert "| 8 | " in (runs / "rank" / "table.md").read_text()


def test_it_waits_for_changes_and_says_what_is_wrong_meanwhile(runs: Path, monkeypatch, capsys) -> None:
    file, seen = runs / "mine.yaml", []
    file.write_text("main: {decimals: 2}\n")
    texts = iter(["main: {decimals: 2}\n", "main: {decimls: 1}\n", "main: {decimls: 1}\n", "main: {decimals: 1}\n"])

    def sleep(seconds: float) -> None:
        seen.append((seconds, capsys.readouterr().out))
        if (text := next(texts, None)) is None:
            raise KeyboardInterrupt
        file.write_text(text)

    monkeypatch.setattr("time.sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        collate(runs, "collate.every=3", f"collate.tables={file}")
    assert [seconds for seconds, _ in seen] == [3.0] * 5
    first, same, wrong, still, mended = (out for _, out in seen)
    assert "30.9" in first and "did you mean decimals?" in wrong and not still and "30.9" in mended
    assert "nothing has changed" not in first + mended and "error" not in same + mended


def test_a_watched_table_that_stays_the_same_is_printed_once(runs: Path, capsys, monkeypatch) -> None:
    seen = []

    def sleep(seconds: float) -> None:
        seen.append(capsys.readouterr().out)
        if len(seen) == 3:
            raise KeyboardInterrupt
        if len(seen) == 1:  # as a training does at each of its log lines
            next(runs.glob("rank/*/seed0")).joinpath("metrics.jsonl").open("a").write("{}\n")
        else:
            shutil.rmtree(next(runs.glob("rank/*/seed1")))

    monkeypatch.setattr("time.sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        collate(runs, "collate.every=3")
    first, same, other = seen
    assert "How large?" in first and not same and "How large?" in other


def test_a_benchmark_that_no_run_was_measured_on_is_told(runs: Path) -> None:
    with pytest.raises(UserError, match="benchmarks: the benchmark is never rain100l; it is cbsd68_sigma25"):
        collate(runs, "benchmarks=[cbsd68_sigma25,rain100l]")
    with pytest.raises(UserError, match="collate.columns: benchmark is named twice"):
        collate(runs, "collate.columns=[benchmark,benchmark]")
    with pytest.raises(UserError, match="collate.columns: task is what a command does; did you mean degradation?"):
        collate(runs, "collate.columns=[task]")


def test_published_values_of_a_named_table_are_read_again_when_they_change(runs: Path, capsys) -> None:
    values, file = runs / "mine.csv", runs / "mine.yaml"
    file.write_text(f"main: {{published: [{values}]}}\n")
    for psnr in ("40.11", "40.22"):
        values.write_text(f"method,benchmark,psnr\nTheirs,cbsd68_sigma25,{psnr}\n")
        for again in (False, True):
            assert collate(runs, f"collate.tables={file}") == 0
            assert ("nothing has changed" in capsys.readouterr().out) == again
        assert psnr in (runs / "rank/tables/main.md").read_text()


def test_named_tables_of_one_file_and_formats(runs: Path) -> None:
    file = runs / "mine.yaml"
    file.write_text(
        "main: {caption: Main, hide: [costs, notes]}\nslide: {metrics: [ssim], only: {experts.rank: [8]}}\n"
    )
    assert collate(runs, f"collate.tables={file}", "collate.format=[md,tex]", "collate.table.decimals=1") == 0
    folder = runs / "rank" / "tables"
    assert {path.name for path in folder.iterdir()} == {"main.md", "main.tex", "slide.md", "slide.tex"}
    assert (
        (folder / "main.md").read_text().startswith("# Main\n\n**PSNR ↑ (dB)**\n\n| experts.rank | CBSD68 σ=25 | Δ |")
    )
    assert r"\label{tab:rank-main}" in (folder / "main.tex").read_text()
    assert "| 8 | 0.3 ± 0.0" in (folder / "slide.md").read_text() and "| 4 |" not in (folder / "slide.md").read_text()
    assert not (runs / "rank" / "report.html").exists()
    file.write_text("slide: {only: {experts.rank: [9]}}\n")
    with pytest.raises(UserError, match=r"^slide: collate.table.only: experts.rank is never 9; it is 4, 8$"):
        collate(runs, f"collate.tables={file}")
    assert collate(runs, "collate.format=[html]") == 0 and (runs / "rank" / "report.html").exists()


def test_no_runs_is_one_line(runs: Path) -> None:
    with pytest.raises(UserError, match=r"study=rnk has no runs in .*; did you mean study=rank\?"):
        collate(runs, "study=rnk")


@pytest.mark.parametrize(
    ("override", "text"),
    [
        (
            "collate.metrics=[psrn]",
            'collate.metrics[0]: "psrn" is not one of psnr, ssim, gain, mae, lpips, dists; did you',
        ),
        ("collate.row=[label]", "collate.row: unknown; did you mean collate.rows?"),
        ("collate.table.decimal=1", "collate.table.decimal: unknown; did you mean collate.table.decimals?"),
        ("collate.table.hide=[macss]", "collate.table.hide[0]: "),
        ("collate.format=[pdf]", 'collate.format[0]: "pdf" is not one of md, tex, csv, html'),
        ("collate.alpha=1.5", "collate.alpha: must be less than 1, got 1.5"),
        ("collate.rows=[]", "collate.rows: must have at least 1 item, got []"),
    ],
)
def test_mistakes_are_told_beforehand(override: str, text: str) -> None:
    with pytest.raises(UserError) as caught:
        list(Command.parse(["task=collate", "study=rank", override]).jobs)
    assert str(caught.value).startswith(text)
