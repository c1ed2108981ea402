"use strict";
const figures = JSON.parse(document.getElementById("figures").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const touch = matchMedia("(pointer: coarse)").matches;

/* Figures take paper, ink and grid from the page's style, so that both themes fit. */
function themed(layout) {
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink"), soft = style.getPropertyValue("--soft");
  const line = style.getPropertyValue("--line"), paper = style.getPropertyValue("--paper");
  const axis = (given) => ({
    gridcolor: line, zerolinecolor: line, linecolor: soft, tickcolor: soft, tickfont: { color: soft },
    automargin: true, ...given,
    title: { standoff: 8, font: { color: soft, size: 12 }, ...(given && given.title) },
  });
  return {
    paper_bgcolor: "transparent", plot_bgcolor: "transparent", height: 340,
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: ink },
    margin: { l: 12, r: 12, t: 12, b: 12 },
    legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom", x: 0, font: { color: ink } },
    hoverlabel: { bgcolor: paper, bordercolor: line, font: { color: ink } },
    dragmode: touch ? false : "zoom",
    ...layout, xaxis: axis(layout.xaxis), yaxis: axis(layout.yaxis),
  };
}

function draw() {
  for (const place of document.querySelectorAll("[data-figure]")) {
    const figure = figures[place.dataset.figure];
    Plotly.react(place, figure.data, themed(figure.layout), { displayModeBar: false, responsive: true });
  }
}

/* Sorting moves the rows of the runs; the dense model stays on top. */
function sort(button) {
  const head = button.closest("th"), table = button.closest("table"), body = table.tBodies[1];
  const column = Number(button.dataset.column);
  const descending = head.getAttribute("aria-sort") === "ascending";
  const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const compare = (a, b) => {
    const [one, other] = [value(a), value(b)];
    if (one === "" || other === "") return (one === "") - (other === "");
    const numbers = Number(one) - Number(other);
    const order = Number.isNaN(numbers) ? one.localeCompare(other) : numbers;
    return descending ? -order : order;
  };
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  body.append(...[...body.rows].sort(compare));
}

/* The filter hides runs; the dense model stays. */
const search = document.getElementById("filter"), shown = document.getElementById("shown");
function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = [...document.querySelectorAll("#summary tbody:not(.dense) tr")];
  for (const row of rows) {
    const text = `${row.dataset.run} ${row.dataset.method}`.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
  }
  const left = rows.filter((row) => !row.hidden).length;
  shown.textContent = words.length ? `${left} of ${rows.length} runs` : "";
}
search.addEventListener("input", filter);

/* What is shown of the table, as text for a paper. */
const clean = (cell) => cell.innerText.replace(/\s+/g, " ").trim();
const forms = {
  markdown: {
    cell: (text) => text.replace(/\|/g, "\\|"),
    best: (text) => `**${text}**`,
    whole: (head, rows) => [head, head.map((_, place) => (place ? "---:" : "---")), ...rows]
      .map((row) => `| ${row.join(" | ")} |`).join("\n"),
  },
  latex: {
    cell: (text) => text.replace(/([&%$#_{}])/g, "\\$1").replace(/≈/g, "$\\approx$").replace(/−/g, "$-$")
      .replace(/±/g, "$\\pm$").replace(/×/g, "$\\times$"),
    best: (text) => `\\textbf{${text}}`,
    whole: (head, rows) => [
      `\\begin{tabular}{l${"r".repeat(head.length - 1)}}`, "\\toprule",
      `${head.join(" & ")} \\\\`, "\\midrule", ...rows.map((row) => `${row.join(" & ")} \\\\`),
      "\\bottomrule", "\\end{tabular}",
    ].join("\n"),
  },
};
function table(form) {
  const { cell, best, whole } = forms[form];
  const text = (given) => (given.classList.contains("best") ? best(cell(clean(given))) : cell(clean(given)));
  const rows = [...document.querySelectorAll("#summary tbody tr:not([hidden]):not(.gap)")];
  const head = document.querySelector("#summary thead tr");
  return `${whole([...head.cells].map((given) => cell(clean(given))), rows.map((row) => [...row.cells].map(text)))}\n`;
}
for (const button of document.querySelectorAll("[data-copy]")) {
  const name = button.textContent;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(table(button.dataset.copy));
      button.textContent = "Copied";
    } catch {
      button.textContent = "The browser does not allow it";
    }
    setTimeout(() => { button.textContent = name; }, 1500);
  });
}

for (const button of document.querySelectorAll(".sortable thead button")) {
  button.addEventListener("click", () => sort(button));
}
function open() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) target.open = true;
}
addEventListener("hashchange", open);
dark.addEventListener("change", draw);
open();
draw();
