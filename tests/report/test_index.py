"""The page over all studies: their states, the headlines of their tables, and links that lead somewhere."""

from pathlib import Path

import pytest
from helpers import job
from synthetic import make_run, rows

from daair.cli import conf_dir
from daair.config.compose import Composer
from daair.config.validate import validate
from daair.report import index
from daair.report.frame import frame
from daair.report.layout import numbers_csv
from daair.report.table import TableSpec, study_table
from daair.tasks import report as task


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for rank in (4, 8):
        make_run(tmp_path, f"a-0000000{rank}", 0, rows([30.0 + rank]), experts={"rank": rank}, question="How <large>?")
    make_run(tmp_path, "a-00000001", 0, None, study="later", status={"state": "queued", "started": ""})
    spec = TableSpec(rows=("experts.rank",), reference={"experts.rank": 4})
    (tmp_path / "rank" / "table.csv").write_text(numbers_csv(study_table(frame(tmp_path, "rank"), spec, "rank")))
    (tmp_path / "rank" / "report.html").write_text("")
    return tmp_path


def test_all_studies_have_a_line_with_state_and_headline(runs: Path) -> None:
    page, unfinished = index.write(runs, 5)
    text = page.read_text()
    assert page == runs / "index.html" and unfinished == 1
    for part in ("2 done", "1 queued", "How &lt;large&gt;?", 'href="rank/report.html"', "task=collate study=later"):
        assert part in text, part
    assert "rank 8: PSNR 38.00 dB on cbsd68_sigma25, +4.00 against the reference" in text
    assert '<meta http-equiv="refresh" content="5' in text


@pytest.mark.parametrize("text", [None, "a: [1", "3", b"\xff"], ids=str)
def test_a_study_whose_config_cannot_be_read_has_a_line_without_a_question(
    runs: Path, text: str | bytes | None
) -> None:
    config = runs / "later" / "a-00000001" / "seed0" / "config.yaml"
    config.unlink()
    if text is not None:
        config.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert "task=collate study=later" in index.write(runs)[0].read_text()


def test_a_table_that_cannot_be_read_gives_no_headline(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("column,metric,mean,rank\naverage,psnr,oops,1\n")
    assert index.headline(tmp_path / "table.csv") == "" and index.headline(tmp_path / "none.csv") == ""


def test_the_task_writes_the_page_and_ends_when_no_run_goes_on(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        status = runs / "later" / "a-00000001" / "seed0" / "status.json"
        status.write_text(status.read_text().replace("queued", "done"))

    monkeypatch.setattr(task.time, "sleep", sleep)
    composed = Composer(conf_dir()).compose(["task=report", f"paths.runs={runs}", "report.every=3"])
    assert task.report(job(validate(composed))) == 0
    assert slept == [3] and "refresh" not in (runs / "index.html").read_text()
