"""The report: one file that needs no other, and works in a browser."""

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import studies

from daair.report import frame as collate
from daair.report import html as report
from daair.report import writers
from daair.report.figures import Drawn, curves, figure_data, methods, scores, style
from daair.runs import samples
from daair.runs.record import Record

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome-headless-shell")
TABLE = """<table class="results"><caption>PSNR in dB</caption>
<thead><tr><th scope="col">rank</th><th scope="col">demo_rain ↑</th></tr></thead>
<tbody><tr><td class="name">10</td><td data-value="27.5">27.50 ± 0.10</td></tr>
<tr><td class="name">2</td><td data-value="9.25">9.25 ± 0.10</td></tr>
<tr><td class="name">4</td><td>–</td></tr>
<tr><td class="name">8</td><td data-value="28.0">28.00 ± 0.10</td></tr></tbody>
<tbody class="published"><tr><th colspan="2">published</th></tr>
<tr><td class="name">B</td><td data-value="30.0">30.00</td></tr>
<tr><td class="name">A</td><td data-value="31.0">31.00</td></tr></tbody></table>"""


def wide_table() -> str:
    """As many columns as a study of nine benchmarks and four costs has, and the folded table of differences."""
    benchmarks = (f"CBSD68 σ={level}" for level in range(15, 24))
    names = [*benchmarks, "average", "Δ average", "params, M", "MACs, G", "updates"]
    cells = [writers.Cell("DaAIR-NAF-no-clean"), *(writers.Cell("32.81 ± 0.08", value=32.81) for _ in names)]
    rows = writers.Block("SSIM ↑", ["optimizer.weight_decay", *names], [cells] * 3)
    return writers.to_html([rows]) + writers.folded_html(replace(rows, title="Differences", rows=[cells] * 13))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = studies.make_study(tmp_path_factory.mktemp("my runs"), seeds=[0, 1], ranks=[2, 4])
    unfinished = Record(runs / "rank" / "rank4-00000004" / "seed1")
    unfinished.results_file.unlink()
    unfinished.update(state="failed", message="a <reason>")
    collated, folder = collate.frame(runs, "rank"), runs / "rank"
    data = figure_data(collated, runs, reference="rank2-00000002")
    with style.styled():
        drawn = [draw(data, folder / "figures") for draw in (curves.draw_curves, scores.draw_gain)]
        drawn += [Drawn("gain", reason="<none> & nothing")]
        drawn += methods.draw_methods(data, folder / "figures", {"demo_rain": [(20, 30, 16)]})
    commands = {"rank2-00000002": "python run.py -m experts.rank=2 'label=<b>' seed=0,1"}
    notes = ["Protocol promptir & others."]
    return report.write(data, folder, table=TABLE + wide_table(), drawn=drawn, notes=notes, commands=commands)


def test_a_report_of_large_pictures_stays_small_and_points_lead_to_variants(tmp_path: Path) -> None:
    runs = studies.make_study(tmp_path, seeds=[0], ranks=[2])
    record = Record(runs / "rank" / "rank2-00000002" / "seed0")
    noise = np.random.default_rng(0).normal(128, 25, (512, 3 * 512, 3)).clip(0, 255).astype(np.uint8)
    for name in ("demo_noise25", "demo_rain"):
        for which in samples.WHICH:
            sample = samples.Sample(name, "promptir", "0.png", which, 20.0, 25.0, noise)
            samples.write(record.sample_file(name, which), sample)
    data = figure_data(collate.frame(runs, "rank"), runs)
    with style.styled():
        drawn = [scores.draw_gain(data, runs / "rank" / "figures")]
    page = report.write(data, runs / "rank", table=TABLE, drawn=drawn)
    assert page.stat().st_size < 0.7e6  # twelve pictures of noise, the hardest to compress; as PNG they take over 10 MB
    text = page.read_text()
    assert text.count('class="spot') == 2 and 'href="#variant-0"' in text and 'id="variant-0"' in text
    assert " (seed 0): " in text and "demo_<wbr>rain" in text


def test_headings_may_break_after_an_underscore(tmp_path: Path, page: Path) -> None:
    headings = re.findall(r'<th scope="col"[^>]*>([^<]*(?:<wbr>[^<]*)*)</th>', page.read_text())
    assert "optimizer.weight_<wbr>decay" in headings and "demo_<wbr>rain ↑" in headings


class Links(HTMLParser):
    """Collects everything that a page loads or links to, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded, self.linked, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("src", "srcset", "data-src") or (tag == "link" and name == "href"):
                self.loaded.append(value or "")
            elif name == "href":
                self.linked.append(value or "")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_needs_no_other_file(page: Path) -> None:
    links = Links(page.read_text())
    assert links.loaded and all(url.startswith("data:") for url in links.loaded)
    assert not re.search(r"@import|url\(", page.read_text())
    assert links.linked and all(url.startswith("#") for url in links.linked), "it can be mailed"
    text = " ".join(links.text)
    for name in ("figures/curves.pdf", "figures/methods_demo_rain.pdf", "rank4-00000004/seed1", "rank2-00000002/seed0"):
        assert name in text
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_the_page_tells_all_of_the_study(page: Path) -> None:
    text = " ".join(" ".join(Links(page.read_text()).text).split())
    for part in (
        "How large must the rank be?", "3 of 4 runs done, 2 variants, 2 seeds", "Protocol promptir & others.",
        "gain: <none> & nothing", "rank 2 (reference)", "experts.rank", "seed1 (failed)", "label=<b>", "0123456789",
        "a processor", "1.0 min (median of the runs)", "largest gain: 3.png", "rank 2, seed 0: of each benchmark",
        "Method beside method", "0.png of demo_rain", "and the framed square enlarged",
    ):  # fmt: skip
        assert part in text, part


def test_a_study_without_results_has_a_page_too(tmp_path: Path) -> None:
    Record(tmp_path / "new" / "a-00000001" / "seed0").queue({"seed": 0, "study": "new", "train": {"steps": 3}}, steps=3)
    data = figure_data(collate.frame(tmp_path, "new"), tmp_path)
    page = report.write(data, tmp_path / "new", table="<p>nothing yet</p>")
    text = " ".join(" ".join(Links(page.read_text()).text).split())
    assert "0 of 1 run done, 1 variant, 1 seed" in text and "nothing yet" in text and "(queued)" in text


# What a visitor does, in two frames: one as wide as a desk, one as a phone.
VISIT = """
const done = (frame) => {
  const page = frame.contentDocument, result = { width: frame.contentWindow.innerWidth };
  result.overflow = page.documentElement.scrollWidth - result.width;
  result.broken = [...page.images].filter((image) => !image.complete || image.naturalWidth === 0).length;
  result.cut = [...page.querySelectorAll(".scroll")].filter((box) => box.scrollWidth > box.clientWidth + 1).length;
  const table = page.querySelector("table.results");
  const rows = () => [...table.tBodies].map((body) => [...body.rows].map((row) => row.cells[0].textContent));
  const buttons = table.tHead.querySelectorAll("button");
  result.orders = [rows()];
  for (const button of [buttons[1], buttons[1], buttons[0]]) { button.click(); result.orders.push(rows()); }
  result.sorted = table.tHead.rows[0].cells[0].getAttribute("aria-sort");
  const tables = [...page.querySelectorAll(".metrics table")], shown = () => tables.map((one) => one.checkVisibility());
  result.wide = tables[1].scrollWidth <= tables[1].closest(".wide").clientWidth;
  result.shown = [shown()];
  const hide = [...page.querySelectorAll(".pick button")].find((button) => button.textContent === "SSIM ↑");
  const fold = page.querySelector(".metrics summary");
  for (const place of [hide, hide, fold]) { place.click(); result.shown.push(shown()); }
  const spot = page.querySelector(".spot"), label = spot.querySelector("span");
  result.spots = [label.checkVisibility()];
  spot.focus();
  result.spots.push(label.checkVisibility());
  const slider = page.querySelector(".slider"), over = slider.querySelector(".over");
  const range = slider.querySelector("input");
  slider.scrollIntoView({ behavior: "instant" });
  const box = slider.getBoundingClientRect();
  result.hit = page.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2) === range;
  const clip = () => frame.contentWindow.getComputedStyle(over).clipPath;
  result.clips = [clip()];
  range.value = 20;
  range.dispatchEvent(new Event("input", { bubbles: true }));
  result.clips.push(clip());
  const pictures = [over.src];
  for (const button of slider.parentElement.querySelectorAll(".pick button")) {
    button.click();
    pictures.push(over.src);
  }
  result.changed = [pictures[0] === pictures[1], pictures[1] === pictures[2]];
  result.named = slider.querySelector(".left-name").textContent;
  return result;
};
window.addEventListener("load", () => {
  const out = document.createElement("pre");
  out.id = "result";
  const visits = [...document.querySelectorAll("iframe")].map(done);
  out.textContent = JSON.stringify({ errors: window.errors, visits });
  document.body.append(out);
});
"""
WATCH = """<script>
addEventListener("error", (event) => parent.errors.push(String(event.message)), true);
addEventListener("unhandledrejection", (event) => parent.errors.push(String(event.reason)));
for (const name of ["error", "warn"]) console[name] = (...words) => parent.errors.push(words.join(" "));
</script>"""


def test_a_browser_sorts_slides_and_fits_a_phone(page: Path, tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    inner = html.escape(page.read_text().replace("<head>", f"<head>{WATCH}", 1), quote=True)
    frames = "".join(
        f'<iframe style="width:{w}px;height:800px;border:0" srcdoc="{inner}"></iframe>' for w in (1280, 400)
    )
    visit = tmp_path / "visit.html"
    visit.write_text(
        f'<!DOCTYPE html><meta charset="utf-8"><script>window.errors = [];\n{VISIT}</script><body>{frames}</body>'
    )
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--enable-logging=stderr"]
    command = [browser, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000", "--dump-dom"]
    ran = subprocess.run([*command, visit.as_uri()], capture_output=True, text=True, timeout=200)
    found = re.search(r'<pre id="result">(.*?)</pre>', ran.stdout, re.DOTALL)
    assert found, ran.stderr[-2000:]
    result = json.loads(html.unescape(found[1]))
    assert result["errors"] == [] and "CONSOLE" not in ran.stderr
    for visit, width in zip(result["visits"], (1280, 400), strict=True):
        assert visit["width"] == width and visit["overflow"] <= 0, "the page scrolls sideways"
        assert visit["cut"] == 0, "a figure is not whole"
        assert visit["wide"] == (width == 1280), "all columns fit a desk; on a phone the table scrolls inside"
        assert visit["shown"] == [[True, True, False], [True, False, False], [True, True, False], [True, True, True]]
        assert visit["spots"] == [False, True], "a point tells its runs when it is pointed at"
        assert visit["orders"] == [
            [["10", "2", "4", "8"], ["published", "B", "A"]],
            [["8", "10", "2", "4"], ["published", "A", "B"]],  # numbers as numbers, what is missing last
            [["2", "10", "8", "4"], ["published", "B", "A"]],
            [["10", "8", "4", "2"], ["published", "B", "A"]],
        ]
        assert visit["sorted"] == "descending"
        assert visit["hit"] and visit["clips"] == ["inset(0px 50% 0px 0px)", "inset(0px 80% 0px 0px)"]
        assert visit["changed"] == [True, False] and visit["named"] == "clean" and visit["broken"] == 0
