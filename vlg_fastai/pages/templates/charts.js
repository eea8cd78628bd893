// the library lies in the page compressed: a third of its size
async function library() {
  const text = atob(byId("library").textContent), packed = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) packed[i] = text.charCodeAt(i);
  const plain = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  document.head.append(element("script", { textContent: await new Response(plain).text() }));
}

// chart colours are names of CSS variables, so that charts follow the page's theme
const themed = chart => JSON.parse(JSON.stringify(chart).replace(/"var\((--[\w-]+)\)"/g, (_, name) => JSON.stringify(colour(name))));

function draw(node) {
  const { data, layout } = themed(CHARTS[node.dataset.chart]);
  const ground = { paper_bgcolor: "transparent", font: { color: colour("--ink"), family: "system-ui, sans-serif" },
    margin: { l: 10, r: 10, t: 30, b: 10 }, hoverlabel: { bgcolor: colour("--card"), font: { color: colour("--ink") } }, dragmode: false };
  return Plotly.react(node, data, { plot_bgcolor: "transparent", ...ground, ...layout }, { responsive: true, displayModeBar: false });
}
// room for the charts before they are drawn, and when they are printed
document.querySelectorAll("[data-chart]").forEach(node => { node.style.minHeight = `${CHARTS[node.dataset.chart].layout.height}px`; });
const drawAll = () => Promise.all([...document.querySelectorAll("[data-chart]")].map(draw));
const ready = library().then(drawAll).then(() => { onTheme(drawAll); document.body.dataset.ready = "true"; });
