const BATCH = 60, STEPS = 100, SURE = 0.99;
const idOf = row => row.content + "/" + row.folder;
let here = {}; // decisions made in this browser; null: undone
try { here = JSON.parse(localStorage.getItem(PLACE)) || {}; } catch { here = {}; }
const steps = []; // what each step replaced: [id, decision before] pairs
const decisionOf = id => id in here ? here[id] : GIVEN[id] || null;

function rowsOf(issue) {
  const wanted = find.value.toLowerCase(), by = sort.value;
  const rows = ROWS.filter(row => row.issue === issue && !(open_.checked && decisionOf(idOf(row)))
    && (!wanted || [row.file, row.label, row.suggested, row.twin_of].join(" ").toLowerCase().includes(wanted)));
  return rows.sort((a, b) => by === "score" ? b.score - a.score : a[by].localeCompare(b[by]));
}

function picture(name, path, told, own) {
  const image = path
    ? element("img", { src: path, alt: name, loading: "lazy", decoding: "async" })
    : element("p", { textContent: "picture unavailable" });
  const words = told ? element("b", { textContent: told }) : "";
  return element("figure", { className: own ? "own" : "" }, image, element("figcaption", { title: name }, words, told ? name.split("/").pop() : name));
}

function about(row) {
  if (row.issue === "doubtful_label") return `label ${row.label}, more likely ${row.suggested}`;
  if (row.issue === "review_twin") return `similar to ${row.suggested}`;
  if (row.twin_of) return `${row.label ? "label " + row.label + ", " : ""}twin of ${row.twin_of}`;
  return row.suggested;
}

function newLabel(row) {
  const decided = decisionOf(idOf(row));
  return (decided && decided.new_label) || (row.relabel && row.suggested) || row.label;
}

function card(row) {
  const choice = element("select", { title: "new label" }, ...CLASSES.map(name => element("option", { textContent: name })));
  choice.setAttribute("aria-label", `new label of ${row.file}`);
  choice.value = newLabel(row);
  const buttons = ["keep", "relabel", "drop"].map(action => {
    const button = element("button", { type: "button", className: action, textContent: action });
    button.addEventListener("click", () => decide([[row, action, choice.value]]));
    return button;
  });
  const node = element("article", { className: "card", tabIndex: 0 },
    element("div", { className: "pictures" }, picture(row.file, row.picture, "", true), ...row.beside.map(other => picture(other.name, other.picture, other.told))),
    element("p", { className: "about", textContent: `${about(row)} (${row.score.toFixed(2)})` }),
    ...(row.folder ? [element("div", { className: "picks" }, ...buttons, choice)] : []));
  node.setAttribute("aria-label", row.file);
  node.row = row;
  choice.addEventListener("change", () => decide([[row, "relabel", choice.value]]));
  mark(node);
  return node;
}

function mark(node) {
  const decision = decisionOf(idOf(node.row)), action = decision ? decision.action : "";
  node.dataset.action = action;
  for (const button of node.querySelectorAll("button"))
    button.setAttribute("aria-pressed", button.className === (action === "once" ? "drop" : action));
}

function decision(row, action, label) {
  if (action === "undo") return null;
  // keeping a label decided earlier means deciding it again
  const again = action === "keep" && row.label !== row.folder;
  return {
    content: row.content, label: row.folder, file: row.file,
    action: again ? "relabel" : action === "drop" && row.once ? "once" : action,
    new_label: again ? row.label : action === "relabel" ? label : "",
  };
}

// one step: [row, action, new label] triples
function decide(made) {
  const usable = made.filter(([row]) => row.folder);
  if (!usable.length) return;
  steps.push(usable.map(([row]) => [idOf(row), here[idOf(row)]]));
  if (steps.length > STEPS) steps.shift();
  for (const [row, action, label] of usable) here[idOf(row)] = decision(row, action, label);
  settle();
}

function undo() {
  const last = steps.pop();
  if (!last) return;
  for (const [id, before] of last.reverse()) if (before === undefined) delete here[id]; else here[id] = before;
  settle();
}

function settle() {
  try { localStorage.setItem(PLACE, JSON.stringify(here)); } catch { /* private window: export before closing */ }
  document.querySelectorAll(".card").forEach(mark);
  tell();
}

// decisions on many rows at once: only on those that nobody has decided on
const openRows = issue => rowsOf(issue).filter(row => row.folder && !decisionOf(idOf(row)));

function oneOfEachPair(rows) {
  const gone = new Set(), kept = new Set(), made = []; // of a pair never both
  for (const row of rows) if (!gone.has(row.twin_of) && !kept.has(row.file)) {
    gone.add(row.file);
    kept.add(row.twin_of);
    made.push([row, "drop", ""]);
  }
  return made;
}

const BULK = {
  doubtful_label: { words: "Relabel all above", above: true, made: rows => rows.map(row => [row, "relabel", row.suggested]) },
  exact_twin: { words: "Drop one of each exact pair", made: oneOfEachPair },
  near_twin: { words: "Drop one of each pair", made: oneOfEachPair },
  mirrored_twin: { words: "Drop one of each pair", made: oneOfEachPair },
  review_twin: { words: "Drop one of each pair above", above: true, made: oneOfEachPair },
};

function bulk(issue) {
  const place = document.querySelector(`[data-bulk="${issue}"]`), rule = BULK[issue];
  if (!ROWS.some(row => row.issue === issue && row.folder)) return () => {};
  const parts = [];
  if (rule) parts.push(rule);
  parts.push({ words: "Keep the rest", made: rows => rows.map(row => [row, "keep", ""]) });
  const shown = parts.map(({ words, above, made }) => {
    const least = above && element("input", { type: "number", min: 0, max: 1, step: 0.01, value: SURE });
    const chosen = () => made(openRows(issue).filter(row => !least || row.score >= +least.value));
    const button = element("button", { type: "button" });
    button.addEventListener("click", () => decide(chosen()));
    const count = () => { const n = chosen().length; button.textContent = `${words}${least ? ` ${least.value}` : ""} (${n})`; button.disabled = !n; };
    least?.setAttribute("aria-label", `${words}: least score`);
    least?.addEventListener("input", count);
    place.append(button, ...(least ? [least] : []));
    return count;
  });
  return () => shown.forEach(count => count());
}

function fill(issue, more) {
  const place = document.querySelector(`[data-issue="${issue}"]`);
  if (!more) place.replaceChildren();
  if (!document.querySelector(`[data-of="${issue}"]`).open) return; // a folded kind is filled when it is opened
  const shown = new Set([...place.children].map(node => node.row)), rows = rowsOf(issue).filter(row => !shown.has(row));
  const next = rows.slice(0, BATCH).map(card);
  place.append(...next);
  document.querySelector(`[data-more="${issue}"]`).hidden = rows.length <= BATCH;
  if (more && next.length) next[0].focus();
}

function tell() {
  const ids = new Set(ROWS.filter(row => row.folder).map(idOf)), done = [...ids].filter(decisionOf).length;
  progress.textContent = `${done} of ${ids.size} photos decided.`;
  byId("bar").style.width = `${100 * done / Math.max(ids.size, 1)}%`;
  byId("undo").disabled = !steps.length;
  for (const left of document.querySelectorAll("[data-left]"))
    left.textContent = ROWS.filter(row => row.issue === left.dataset.left && !decisionOf(idOf(row))).length;
  counts.forEach(count => count());
}

function csv() {
  const quoted = value => /[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
  const ids = [...new Set([...Object.keys(GIVEN), ...Object.keys(here)])].filter(id => GIVEN[id] || here[id]);
  const lines = ids.map(id => decisionOf(id) || { ...GIVEN[id], action: "undo", new_label: "" }).map(row => COLUMNS.map(name => quoted(row[name] || "")).join(","));
  return [COLUMNS.join(","), ...lines].join("\n") + "\n";
}

function bytes(text) { // names may not be valid UTF-8: such bytes arrive as U+DC80 to U+DCFF
  const parts = text.split(/([\udc80-\udcff])(?<![\ud800-\udbff][\udc80-\udcff])/u);
  return parts.map(part => /^[\udc80-\udcff]$/.test(part) ? new Uint8Array([part.charCodeAt(0) - 0xdc00]) : part);
}

function save() {
  const link = element("a", { download: "decisions.csv", href: URL.createObjectURL(new Blob(bytes(csv()), { type: "text/csv" })) });
  document.body.append(link);
  link.click();
  link.remove();
}

const find = byId("find"), sort = byId("sort"), open_ = byId("open"), progress = byId("progress");
const every = [...document.querySelectorAll("[data-issue]")].map(place => place.dataset.issue);
const counts = every.map(bulk);
const refill = () => { every.forEach(issue => fill(issue, false)); counts.forEach(count => count()); };
find.addEventListener("input", refill);
sort.addEventListener("change", refill);
open_.addEventListener("change", refill);
byId("export").addEventListener("click", save);
byId("undo").addEventListener("click", undo);
document.querySelectorAll("[data-more]").forEach(button => button.addEventListener("click", () => fill(button.dataset.more, true)));
document.querySelectorAll(".issue").forEach(one => one.addEventListener("toggle", () => { if (one.open && !one.querySelector(".card")) fill(one.dataset.of, false); }));
document.querySelectorAll(".sections a").forEach(link => link.addEventListener("click", () => { document.querySelector(`[data-of="${link.hash.slice(1)}"]`).open = true; }));

// keys work at once: without a card in focus they act on the first undecided one on screen
function current(cards) {
  const own = cards.indexOf(document.activeElement.closest(".card"));
  if (own >= 0) return own;
  const below = byId("undo").getBoundingClientRect().bottom;
  const onScreen = card => { const box = card.getBoundingClientRect(); return box.bottom > below && box.top < innerHeight; };
  return cards.findIndex(card => onScreen(card) && !card.dataset.action);
}

document.addEventListener("keydown", event => {
  const typing = event.target.tagName === "SELECT" || /search|number/.test(event.target.type);
  if (event.ctrlKey || event.metaKey || event.altKey || typing) return;
  const cards = [...document.querySelectorAll(".issue[open] .card")], at = current(cards), idle = !document.activeElement.closest(".card");
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const action = { k: "keep", r: "relabel", d: "drop", u: "undo" }[event.key];
  if (event.key === "z") undo();
  else if (step && cards.length) {
    const next = cards[idle ? Math.max(at, 0) : Math.max(0, Math.min(cards.length - 1, at + step))];
    next.focus();
    next.scrollIntoView({ block: "nearest" });
    event.preventDefault();
  } else if (action && at >= 0) {
    decide([[cards[at].row, action, cards[at].querySelector("select")?.value]]);
    const next = cards[action === "undo" ? at : at + 1] || cards[at];
    next.focus();
    next.scrollIntoView({ block: "nearest" });
    event.preventDefault();
  }
});
refill();
tell();
