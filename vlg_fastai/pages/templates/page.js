const element = (name, attributes = {}, ...inside) => {
  const node = Object.assign(document.createElement(name), attributes);
  node.append(...inside);
  return node;
};

// chart colours are names of CSS variables, so that charts follow the page's theme
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const themed = chart => JSON.parse(JSON.stringify(chart).replace(/"var\((--[\w-]+)\)"/g, (_, name) => JSON.stringify(colour(name))));

function draw(node) {
  const { data, layout } = themed(CHARTS[node.dataset.chart]);
  const ground = { paper_bgcolor: "transparent", font: { color: colour("--ink"), family: "system-ui, sans-serif" },
    margin: { l: 10, r: 10, t: 30, b: 10 }, hoverlabel: { bgcolor: colour("--card"), font: { color: colour("--ink") } }, dragmode: false };
  return Plotly.react(node, data, { plot_bgcolor: "transparent", ...ground, ...layout }, { responsive: true, displayModeBar: false });
}
const drawAll = () => Promise.all([...document.querySelectorAll("[data-chart]")].map(draw));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);

function sortBy(button) {
  const head = button.closest("th"), table = head.closest("table"), column = head.cellIndex;
  const state = head.getAttribute("aria-sort"); // numbers sort largest first, text from a
  const up = state === "descending" || (state === "none" && !head.classList.contains("number"));
  table.querySelectorAll("th[aria-sort]").forEach(other => other.setAttribute("aria-sort", "none"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const valueOf = row => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
  const blank = value => value === "";
  const compare = (a, b) => {
    if (blank(a) || blank(b)) return blank(a) - blank(b);
    const by = head.classList.contains("number") ? a - b : a.localeCompare(b);
    return up ? by : -by;
  };
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort((a, b) => compare(valueOf(a), valueOf(b))));
}
document.querySelectorAll("th button").forEach(button => button.addEventListener("click", () => sortBy(button)));
