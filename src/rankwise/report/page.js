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
