document.querySelectorAll("img[data-picture]").forEach(image => { image.src = PICTURES[image.dataset.picture]; });

function photo({ picture, name, told }) {
  const image = PICTURES[picture] ? element("img", { src: PICTURES[picture], alt: name }) : element("span", { className: "gone", textContent: "no picture" });
  return element("figure", { className: "photo" }, image, element("figcaption", { title: name }, name.split("/").pop(), element("br"), told));
}

// the matrix is a table, whose names stay in view when it scrolls
const countOf = (truth, answer) => (CELLS[`${truth}/${answer}`] || []).length;
const photosOf = CLASSES.map(() => 0);
for (const [cell, photos] of Object.entries(CELLS)) photosOf[cell.split("/")[0]] += photos.length;

function cellOf(truth, answer) {
  const count = countOf(truth, answer), cell = element("td");
  if (!count) return cell;
  const own = truth === answer ? "right" : "wrong", share = Math.round(100 * count / photosOf[truth]);
  cell.style.background = `color-mix(in srgb, var(--${own}) ${share}%, var(--${own}-pale))`;
  cell.id = `cell-${truth}-${answer}`;
  const words = `${count} of ${photosOf[truth]} ${CLASSES[truth]} predicted as ${CLASSES[answer]}`;
  // the keyboard chooses cells by Label and Prediction
  cell.append(element("button", { type: "button", tabIndex: -1, textContent: count, title: words, ariaLabel: words, onclick: () => show(truth, answer) }));
  return cell;
}

function reorder() {
  const order = ORDERS[byId("order").value];
  const named = (k, inside) => { const head = element("th", { scope: inside ? "row" : "col", title: CLASSES[k] }); head.append(inside ? CLASSES[k] : element("span", { textContent: CLASSES[k] })); return head; };
  const corner = element("td", { textContent: "" });
  byId("matrix").replaceChildren(
    element("thead", {}, element("tr", {}, corner, ...order.map(k => named(k, false)))),
    element("tbody", {}, ...order.map(k => element("tr", {}, named(k, true), ...order.map(answer => cellOf(k, answer))))));
  choose();
}

function choose() {
  document.querySelectorAll(".matrix [data-chosen]").forEach(cell => cell.removeAttribute("data-chosen"));
  byId(`cell-${byId("truth").value}-${byId("answer").value}`)?.setAttribute("data-chosen", "true");
}

function show(truth, answer) {
  byId("truth").value = truth;
  byId("answer").value = answer;
  const photos = CELLS[`${truth}/${answer}`] || [], shown = photos.filter(one => one.picture !== null), more = photos.length - shown.length;
  const verb = truth === answer ? "correctly predicted as" : "predicted as";
  byId("cell").replaceChildren(
    element("h3", { textContent: `${CLASSES[truth]} ${verb} ${CLASSES[answer]}: ${photos.length}` }),
    element("div", { className: "photos" }, ...shown.map(photo)),
    ...(more ? [element("p", { textContent: `and ${more} more without a picture here` })] : []));
  choose();
}

byId("order").addEventListener("change", reorder);
for (const id of ["truth", "answer"]) byId(id).addEventListener("change", () => show(+byId("truth").value, +byId("answer").value));
document.querySelectorAll("[data-reads]").forEach(link => link.addEventListener("click", () => {
  const choice = byId("reading");
  if (choice) { choice.value = link.dataset.reads; choice.dispatchEvent(new Event("change")); }
}));
document.querySelectorAll("[data-truth]").forEach(button => button.addEventListener("click", event => {
  event.preventDefault(); // a link would take the focus away again
  show(CLASSES.indexOf(button.dataset.truth), CLASSES.indexOf(button.dataset.answer));
  byId("cell").focus();
}));
byId("reading")?.addEventListener("change", event => document.querySelectorAll(".card").forEach(card => {
  card.hidden = event.target.value !== "" && card.dataset.reading !== event.target.value;
}));
reorder();
