"use strict";
const { figures, symbols } = JSON.parse(document.getElementById("figures").textContent);
const dashes = { dash: "6 4", dot: "2 3", dashdot: "6 3 2 3", longdash: "10 4", longdashdot: "10 3 2 3" };
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
    paper_bgcolor: "transparent", plot_bgcolor: "transparent", height: 300,
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: ink },
    margin: { l: 12, r: 12, t: 12, b: 12 },
    showlegend: false,  // drawn below the plot, where it takes nothing from it
    hoverlabel: { bgcolor: paper, bordercolor: line, font: { color: ink } },
    dragmode: touch ? false : "zoom",
    ...layout, xaxis: axis(layout.xaxis), yaxis: axis(layout.yaxis),
  };
}

/* Markers have a rim of paper, which sets them off from each other and is what a dot in one is drawn with. */
function rimmed(trace) {
  if (!trace.marker || !trace.mode || trace.marker.line) return trace;
  const color = getComputedStyle(document.documentElement).getPropertyValue("--paper");
  return { ...trace, marker: { ...trace.marker, line: { width: 1, color } } };
}

function draw(place) {
  const figure = figures[place.dataset.figure];
  Plotly.react(place, figure.data.map(rimmed), themed(figure.layout), { displayModeBar: false, responsive: true });
  if (!place.nextElementSibling) place.after(legend(place, figure.data));
}
const drawAll = () => document.querySelectorAll("[data-figure]").forEach(draw);

/* A button for every named trace, below the plot; a click hides the trace with its group, or shows them again. */
function legend(place, traces) {
  const box = document.createElement("div"), group = (trace) => trace.legendgroup ?? trace.name;
  box.className = "legend";
  const named = traces.filter((trace) => trace.name && trace.showlegend !== false);
  for (const trace of named.length > 1 ? named : []) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.group = group(trace);
    button.setAttribute("aria-pressed", "true");
    button.append(swatch(trace), trace.name);
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") === "false";
      for (const other of box.children)
        if (other.dataset.group === button.dataset.group) other.setAttribute("aria-pressed", shown);
      for (const other of traces) if (group(other) === button.dataset.group) other.visible = shown;
      draw(place);
    });
    box.append(button);
  }
  return box;
}

/* The look of a trace: its line, and its marker's outline from the list that the page carries. */
function swatch({ mode = "", line = {}, marker = {} }) {
  const symbol = [marker.symbol ?? "square"].flat()[0], [, shape, filling] = symbol.match(/^(.*?)((?:-open)?(?:-dot)?)$/);
  const color = line.color ?? marker.color, open = filling.startsWith("-open");
  const space = "http://www.w3.org/2000/svg", picture = document.createElementNS(space, "svg");
  const add = (name, given) => {
    const part = document.createElementNS(space, name);
    for (const [key, value] of Object.entries(given)) part.setAttribute(key, value);
    picture.append(part);
  };
  const wide = mode.includes("lines");
  picture.setAttribute("viewBox", wide ? "-14 -7 28 14" : "-7 -7 14 14");
  if (wide) add("path", { d: "M-14 0H14", stroke: color, "stroke-width": 2, "stroke-dasharray": dashes[line.dash] ?? "" });
  if (!mode || mode.includes("markers")) add("path", { d: symbols[shape], fill: open ? "var(--paper)" : color, stroke: color, "stroke-width": 1.2 });
  if (filling.endsWith("-dot")) add("circle", { r: 1.3, fill: open ? color : "var(--paper)" });
  return picture;
}

/* Sorting moves the rows of the runs; the dense model stays on top. */
function sort(button) {
  const head = button.closest("th"), table = button.closest("table"), body = table.tBodies[1];
  const column = Number(button.dataset.column);
  const descending = head.getAttribute("aria-sort") === "ascending";
  const value = (row) => row.cells[column].dataset.value ?? row.dataset.run;
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
  const text = (given) => {
    const shown = cell(given.scope === "row" ? given.parentElement.dataset.run : clean(given));
    return given.classList.contains("best") ? best(shown) : shown;
  };
  const rows = [...document.querySelectorAll("#summary tbody tr:not([hidden]):not(.gap)")];
  const head = document.querySelector("#summary thead tr");
  return `${whole([...head.cells].map((given) => cell(clean(given))), rows.map((row) => [...row.cells].map(text)))}\n`;
}
for (const button of document.querySelectorAll("[data-copy]")) {
  const name = button.textContent;
  button.addEventListener("click", async () => {
    try {
      const what = button.dataset.copy;
      await navigator.clipboard.writeText(what.startsWith("#") ? document.querySelector(what).textContent : table(what));
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
/* Wide: a table has more columns than its box shows; more: some of them lie beyond the right edge. */
function edges(box) {
  const beyond = box.scrollWidth - box.clientWidth;
  box.classList.toggle("wide", beyond > 1);
  box.classList.toggle("more", beyond - box.scrollLeft > 1);
}
for (const box of document.querySelectorAll(".scroll")) {
  box.addEventListener("scroll", () => edges(box), { passive: true });
  new ResizeObserver(() => edges(box)).observe(box);
}
addEventListener("hashchange", open);
dark.addEventListener("change", drawAll);
open();
drawAll();
