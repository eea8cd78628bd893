// the map: points on a canvas; from close up they are photos, cut from one sheet of tiles
const TRAIN = 0, HELD = 1, TEST = 2, UNLIKE = 3, DOT = 4, NEAREST = 12, SHOWN = 60;
const P = ATLAS.points, plane = byId("plane"), pen = plane.getContext("2d"), sheet = new Image();
const every = P.x.map((_, i) => i), side = ATLAS.tiles.side, high = Math.max(...P.y, 1), broad = Math.max(...P.x, 1);
let scale = 1, left = 0, top_ = 0, chosen = -1, lit = 0;
const mistake = i => P.kind[i] === HELD && P.said[i].length && P.said[i][0] !== P.label[i];
const hue = k => `hsl(${Math.round(360 * k / CLASSES.length)} 65% ${themes[0].matches ? 62 : 45}%)`;

function visible(i) {
  const kind = document.querySelector(`input[data-kind="${P.kind[i]}"]`), only = byId("class").value;
  if (!kind.checked || (byId("wrong").checked && !mistake(i))) return false;
  return only === "" || +only === P.label[i] || +only === (P.said[i][0] ?? -1);
}

let kept = every;
const place = i => [P.x[i] * scale + left, P.y[i] * scale + top_];

function fit(rows = every) {
  const xs = rows.map(i => P.x[i]), ys = rows.map(i => P.y[i]), { clientWidth: w, clientHeight: h } = plane;
  const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  scale = Math.min((w - 60) / Math.max(x1 - x0, 40), (h - 60) / Math.max(y1 - y0, 40), 12);
  left = w / 2 - (x0 + x1) / 2 * scale;
  top_ = h / 2 - (y0 + y1) / 2 * scale;
  paint();
}

function dot(i, x, y, size) {
  const kind = P.kind[i];
  pen.beginPath();
  if (kind === HELD) pen.rect(x - size, y - size, 2 * size, 2 * size); else pen.arc(x, y, size, 0, 7);
  if (kind === TRAIN || kind === HELD) { pen.fillStyle = hue(P.label[i]); pen.fill(); }
  if (kind === UNLIKE) { pen.fillStyle = colour("--ink"); pen.fill(); }
  if (kind === TEST || mistake(i)) { pen.lineWidth = mistake(i) ? 2.5 : 1.2; pen.strokeStyle = colour(mistake(i) ? "--bad" : "--ink"); pen.stroke(); }
}

function tile(i, x, y, size) {
  const across = ATLAS.tiles.across;
  pen.drawImage(sheet, i % across * side, Math.floor(i / across) * side, side, side, x - size / 2, y - size / 2, size, size);
  pen.lineWidth = P.kind[i] === TRAIN ? 1.5 : 2.5;
  pen.strokeStyle = P.kind[i] >= TEST ? colour("--ink") : mistake(i) ? colour("--bad") : hue(P.label[i]);
  pen.strokeRect(x - size / 2, y - size / 2, size, size);
}

function words(text, x, y, fill, back) {
  pen.lineWidth = 3.5;
  pen.strokeStyle = back;
  pen.strokeText(text, x, y);
  pen.fillStyle = fill;
  pen.fillText(text, x, y);
}

const middle = values => [...values].sort((a, b) => a - b)[values.length >> 1];
const homes = CLASSES.map((name, k) => { // where the names of classes stand
  const rows = every.filter(i => P.label[i] === k);
  return rows.length ? { name, x: middle(rows.map(i => P.x[i])), y: middle(rows.map(i => P.y[i])), k } : null;
}).filter(Boolean);

function paint() {
  const ratio = devicePixelRatio || 1, { clientWidth: w, clientHeight: h } = plane;
  plane.width = w * ratio;
  plane.height = h * ratio;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  const loaded = sheet.complete && sheet.naturalWidth, near = loaded && scale > 3.2, size = Math.min(64, 9 * scale);
  const ink = colour("--ink"), back = colour("--ground"), inside = kept.filter(i => { const [x, y] = place(i); return x > -40 && y > -40 && x < w + 40 && y < h + 40; });
  for (const i of inside) { pen.globalAlpha = lit && P.cluster[i] !== lit ? .25 : 1; const big = loaded && (near || (lit && P.cluster[i] === lit)); (big ? tile : dot)(i, ...place(i), big ? Math.max(size, near ? 0 : 40) : DOT); }
  pen.globalAlpha = 1;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.font = "600 12px system-ui, sans-serif";
  const taken = [];
  if (byId("class").value === "") for (const { name, x, y } of homes) {
    const [px, py] = [x * scale + left, y * scale + top_], half = pen.measureText(name).width / 2;
    if (taken.some(([ax, ay, ah]) => Math.abs(ay - py) < 14 && Math.abs(ax - px) < ah + half + 4)) continue;
    taken.push([px, py, half]);
    words(name, px, py, ink, back);
  }
  for (const one of ATLAS.clusters) badge(one, ink, back);
  if (chosen >= 0) { const [x, y] = place(chosen); pen.lineWidth = 3; pen.strokeStyle = colour("--accent"); pen.strokeRect(x - size / 2 - 4, y - size / 2 - 4, size + 8, size + 8); }
}

function badge({ number, rows }, ink, back) {
  if (!rows.some(i => kept.includes(i))) return;
  const [x, y] = place(rows[0]); // the one in the middle
  pen.beginPath();
  pen.arc(x, y, 10, 0, 7);
  pen.fillStyle = ink;
  pen.fill();
  pen.lineWidth = 2;
  pen.strokeStyle = back;
  pen.stroke();
  pen.fillStyle = back;
  pen.fillText(number, x, y + .5);
}

function about(i) {
  const label = P.label[i] >= 0 ? `label ${CLASSES[P.label[i]]}` : "test", [k, p] = P.said[i];
  return k >= 0 ? `${label}, predicted ${CLASSES[k]} ${p.toFixed(2)}` : label;
}

function shownTile(i) {
  const across = ATLAS.tiles.across, down = Math.ceil(every.length / across), node = element("div", { className: "tile", role: "img", ariaLabel: P.name[i] });
  const at = (k, n) => n > 1 ? `${100 * k / (n - 1)}%` : "0";
  node.style.background = `url(${ATLAS.tiles.uri}) ${at(i % across, across)} ${at(Math.floor(i / across), down)} / ${100 * across}% ${100 * down}%`;
  return node;
}

function list(title, rows) {
  const figures = rows.slice(0, SHOWN).map(i => element("figure", { className: "photo" }, shownTile(i), element("figcaption", { title: P.name[i] }, P.name[i].split("/").pop(), element("br"), about(i))));
  const more = rows.length - figures.length;
  byId("found").replaceChildren(element("h3", { textContent: title }), element("div", { className: "photos" }, ...figures), ...(more > 0 ? [element("p", { textContent: `and ${more} more` })] : []));
}

function under(event) {
  const box = plane.getBoundingClientRect(), x = event.clientX - box.x, y = event.clientY - box.y;
  let best = -1, least = Math.max(12, Math.min(32, 4.5 * scale)) ** 2;
  for (const i of kept) { const [px, py] = place(i), away = (px - x) ** 2 + (py - y) ** 2; if (away < least) [best, least] = [i, away]; }
  return [best, x, y];
}

function point(event) {
  const [i, x, y] = under(event), box = byId("hover");
  box.hidden = i < 0;
  if (i < 0) return;
  box.replaceChildren(shownTile(i), element("b", { textContent: P.name[i].split("/").pop() }), element("br"), about(i));
  box.style.left = `${Math.max(4, Math.min(x + 14, plane.clientWidth - 150))}px`;
  box.style.top = `${y + 200 > plane.clientHeight ? Math.max(4, y - 200) : y + 14}px`;
}

function pickPoint(event) {
  const [i] = under(event);
  chosen = i;
  lit = 0;
  if (i >= 0) list(`around ${P.name[i]}`, [...kept].sort((a, b) => Math.hypot(P.x[a] - P.x[i], P.y[a] - P.y[i]) - Math.hypot(P.x[b] - P.x[i], P.y[b] - P.y[i])).slice(0, NEAREST));
  paint();
}

function zoom(by, x = plane.clientWidth / 2, y = plane.clientHeight / 2) {
  const next = Math.max(.1, Math.min(40, scale * by));
  left = x - (x - left) * next / scale;
  top_ = y - (y - top_) * next / scale;
  scale = next;
  paint();
}

const held = new Map(); // pointers that are down: one moves, two pinch
let travelled = 0;
plane.addEventListener("pointerdown", event => { held.set(event.pointerId, event); plane.setPointerCapture(event.pointerId); travelled = 0; });
plane.addEventListener("pointermove", event => {
  const before = held.get(event.pointerId);
  if (!before) { point(event); return; }
  const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY], other = [...held.values()].find(one => one.pointerId !== event.pointerId);
  travelled += Math.abs(dx) + Math.abs(dy);
  if (other) {
    const span = one => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY), box = plane.getBoundingClientRect();
    zoom(span(event) / Math.max(span(before), 1), (event.clientX + other.clientX) / 2 - box.x, (event.clientY + other.clientY) / 2 - box.y);
  } else { left += dx; top_ += dy; paint(); }
  held.set(event.pointerId, event);
});
for (const name of ["pointerup", "pointercancel"]) plane.addEventListener(name, event => { held.delete(event.pointerId); if (name === "pointerup" && travelled < 6) pickPoint(event); });
plane.addEventListener("pointerleave", () => { byId("hover").hidden = true; });
plane.addEventListener("wheel", event => { event.preventDefault(); const box = plane.getBoundingClientRect(); zoom(Math.exp(-event.deltaY / 400), event.clientX - box.x, event.clientY - box.y); }, { passive: false });
plane.addEventListener("keydown", event => {
  const move = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key], by = { "+": 1.3, "=": 1.3, "-": 1 / 1.3 }[event.key];
  if (!move && !by) return;
  event.preventDefault();
  if (move) { left += move[0]; top_ += move[1]; paint(); } else zoom(by);
});
byId("nearer").addEventListener("click", () => zoom(1.5));
byId("farther").addEventListener("click", () => zoom(1 / 1.5));
byId("whole").addEventListener("click", () => { lit = 0; chosen = -1; fit(); });

function counted(photos) {
  return `${photos} photo${photos === 1 ? "" : "s"}`;
}

function refilter() {
  kept = every.filter(visible);
  const only = byId("class").value;
  if (only !== "") list(`${CLASSES[only]}: ${counted(kept.length)}`, kept);
  if (byId("wrong").checked && only === "") list(`mistakes: ${counted(kept.length)}`, kept);
  paint();
}
document.querySelectorAll("input[data-kind], #wrong, #class").forEach(one => one.addEventListener("change", refilter));
document.querySelectorAll("[data-cluster]").forEach(button => button.addEventListener("click", () => showCluster(+button.dataset.cluster)));
function showCluster(number) {
  const one = ATLAS.clusters.find(other => other.number === number);
  lit = number;
  chosen = -1;
  list(`cluster ${number}: test photos near ${one.near.join(", ")}`, one.rows);
  fit(one.rows);
}
sheet.src = ATLAS.tiles.uri;
sheet.decode().then(paint);
new ResizeObserver(() => fit()).observe(plane);
onTheme(paint);
if (ATLAS.clusters.length) list(`cluster 1: test photos near ${ATLAS.clusters[0].near.join(", ")}`, ATLAS.clusters[0].rows);
