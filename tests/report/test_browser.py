"""The report in a real browser: no errors, nothing asked of the network, sorting, narrow screens."""

import html
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rankwise.records.summary import Summary
from tests.browser import BROWSER
from tests.report.conftest import REFINED, RUNS
from tests.report.results import report

WATCH = """<script>
const problems = [];
addEventListener("error", (event) => problems.push(String(event.message)));
addEventListener("unhandledrejection", (event) => problems.push(String(event.reason)));
addEventListener("securitypolicyviolation", (event) => problems.push("asked for " + event.blockedURI));
for (const level of ["error", "warn"]) console[level] = (...words) => problems.push(words.join(" "));
</script>"""
TELL = r"""<script>
addEventListener("load", async () => {
  const order = () => [...document.querySelectorAll("#summary tbody tr")].map((row) => row.dataset.run);
  const click = (column) => { document.querySelector(`[data-column="${column}"]`).click(); return order(); };
  await new Promise((resolve) => setTimeout(resolve, 1500));
  for (const record of document.querySelectorAll("details")) record.open = true;
  const typed = (words) => {
    const place = document.getElementById("filter");
    place.value = words;
    place.dispatchEvent(new Event("input"));
    return [...document.querySelectorAll("#summary tbody tr")].filter((row) => row.checkVisibility()).map((row) => row.dataset.run);
  };
  const copied = {};
  Object.defineProperty(navigator, "clipboard", { value: { writeText: async (text) => { copied.text = text; } } });
  const copy = async (form) => {
    document.querySelector(`[data-copy="${form}"]`).click();
    await new Promise((resolve) => setTimeout(resolve, 10));
    return copied.text;
  };
  const shown = [...document.querySelectorAll("[data-figure]")];
  /* Which columns a reader sees before scrolling the table, whether something says that there are more, and where the names are after it. */
  const seen = () => {
    const box = document.querySelector("#summary").parentElement, edge = box.getBoundingClientRect().right;
    const heads = [...document.querySelectorAll("#summary thead th")].filter((head) => head.checkVisibility());
    const whole = heads.filter((head) => head.getBoundingClientRect().right <= edge + 1).map((head) => head.innerText.replace(/\s+/g, " ").trim());
    const name = document.querySelector("#summary tbody:not(.dense) th"), before = name.getBoundingClientRect().left;
    const said = document.querySelector(".hint").checkVisibility(), fades = getComputedStyle(box).maskImage !== "none";
    box.scrollLeft = 9999;
    const moved = name.getBoundingClientRect().left - before, needed = box.scrollWidth > box.clientWidth + 1;
    box.scrollLeft = 0;
    return { whole, said, fades, moved, needed };
  };
  /* The legend of a figure: as many swatches as names, none within the plot; a click hides the trace and a second one shows it again. */
  const legends = () => {
    const found = {};
    for (const place of shown) {
      const box = place.nextElementSibling, names = [...box.children].map((button) => button.textContent);
      found[place.dataset.figure] = {
        names, swatches: box.querySelectorAll("svg").length, inside: place.querySelectorAll(".legend").length,
        plot: place.querySelector(".nsewdrag").getBoundingClientRect().height, all: place.getBoundingClientRect().height,
        looks: new Set([...box.querySelectorAll("svg")].map((picture) => picture.innerHTML)).size,
      };
    }
    const tasks = document.querySelector('[data-figure="tasks"]'), button = tasks.nextElementSibling.children[1];
    const drawn = () => tasks.querySelectorAll(".scatterlayer .trace").length;
    const before = drawn();
    button.click();
    const hidden = drawn(), pressed = button.getAttribute("aria-pressed");
    button.click();
    return { found, before, hidden, pressed, after: drawn() };
  };
  parent.postMessage({
    problems, order: order(), ascending: click(3), descending: click(3), name: click(0),
    filtered: typed("svd BLOCK"), none: typed("no such run"), filtered_again: typed("bolaco-50"), told: document.getElementById("shown").textContent,
    markdown: await copy("markdown"), latex: await copy("latex"), all: typed(""),
    sorted: document.querySelector("th[aria-sort]").getAttribute("aria-sort"),
    width: innerWidth, needed: document.documentElement.scrollWidth,
    wider: shown.filter((place) => place.scrollWidth > place.clientWidth + 1).map((place) => place.dataset.figure),
    seen: seen(), legends: legends(), figures: shown.length, drawn: document.querySelectorAll("[data-figure] .main-svg:first-child").length,
    ink: getComputedStyle(document.body).color, text: shown[0].querySelector("text").style.fill,
  }, "*");
});
</script>"""
FRAMES = """<!doctype html><pre id="told"></pre><script>
const told = {};
addEventListener("message", (event) => {
  told[event.data.width] = event.data;
  document.getElementById("told").textContent = JSON.stringify(told);
});
</script><iframe src="page.html" style="width:380px;height:3000px;border:0"></iframe>
<iframe src="page.html" style="width:1280px;height:3000px;border:0"></iframe>"""


def told(folder: Path, *, dark: bool) -> dict[str, Any]:
    """Open the page 380 and 1280 px wide; return what each says of itself."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
    options += ["--disable-background-networking", "--disable-component-update"]
    options += [
        f"--user-data-dir={folder / 'profile'}",
        "--virtual-time-budget=20000",
        "--dump-dom",
    ]
    if dark:
        options.append("--blink-settings=preferredColorScheme=0")
    done = subprocess.run(
        [str(BROWSER), *options, (folder / "frames.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None, done.stderr
    value: dict[str, Any] = json.loads(html.unescape(found[1]))
    return value


def check_table(seen: dict[str, Any], *, narrow: bool) -> None:
    """On a phone a reader sees what a run is worth, that there is more, and never loses the names."""
    wanted = ["run", "keep reached", "perplexity", "zero-shot average"]
    assert set(wanted) <= set(seen["whole"])
    assert seen["needed"] == seen["said"] == seen["fades"] == narrow
    assert seen["moved"] == 0


def check_legends(legends: dict[str, Any]) -> None:
    """Legends stand below the plots and take nothing from them."""
    runs = ["dense", *RUNS, *REFINED]
    assert legends["found"]["tasks"]["names"] == runs
    assert legends["found"]["prefill"]["names"] == ["batch 1", "batch 8"]
    for legend in legends["found"].values():
        assert legend["swatches"] == legend["looks"] == len(legend["names"])
        assert legend["inside"] == 0
        assert legend["plot"] > 0.5 * legend["all"]
    assert (legends["before"], legends["hidden"], legends["after"]) == (
        len(runs),
        len(runs) - 1,
        len(runs),
    )
    assert legends["pressed"] == "false"


@pytest.mark.skipif(BROWSER is None, reason="no chromium on PATH: apt-get install chromium")
@pytest.mark.parametrize("dark", [False, True])
def test_page_in_a_browser(study: Path, arguments: list[str], tmp_path: Path, dark: bool) -> None:
    report(arguments)
    text = (study / "report/index.html").read_text()
    text = text.replace("<head>", "<head>" + WATCH, 1).replace("</body>", TELL + "</body>")
    (tmp_path / "page.html").write_text(text)
    (tmp_path / "frames.html").write_text(FRAMES)
    found = told(tmp_path, dark=dark)
    rows = Summary.load(study / "report/summary.json").rows[1:]
    by_perplexity = [row.run for row in sorted(rows, key=lambda row: row.perplexity)]
    assert set(found) == {"380", "1280"}
    for width, page in found.items():
        assert page["problems"] == []
        assert page["needed"] <= int(width)
        assert page["wider"] == []
        assert page["drawn"] == page["figures"] == 7 + len(RUNS) + 2 * len(REFINED)
        assert page["order"] == ["dense", *RUNS, *REFINED]
        assert page["ascending"] == ["dense", *by_perplexity]
        assert page["descending"] == ["dense", *by_perplexity[::-1]]
        assert page["name"] == ["dense", *sorted([*RUNS, *REFINED])]
        assert page["sorted"] == "ascending"
        assert page["filtered"] == ["dense", "svd-50-refined"]
        assert page["none"] == ["dense"]
        assert page["filtered_again"] == ["dense", "bolaco-50"]
        assert page["told"] == f"1 of {len(RUNS) + len(REFINED)} runs"
        assert page["all"] == page["name"]
        head, rule, dense, run = page["markdown"].splitlines()
        assert head.startswith("| run | asked | keep reached | perplexity |")
        assert rule == "| --- |" + " ---: |" * 7
        assert dense.startswith("| dense | 1.00 | 1.0000 |")
        assert run.startswith("| bolaco-50 | 0.50 |")
        assert page["latex"].splitlines()[0] == r"\begin{tabular}{lrrrrrrr}"
        assert len(page["latex"].splitlines()) == 8
        check_table(page["seen"], narrow=width == "380")
        check_legends(page["legends"])
        red = int(re.findall(r"\d+", page["ink"])[0])
        assert red > 200 if dark else red < 60
