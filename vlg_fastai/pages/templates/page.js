const byId = id => document.getElementById(id);
const element = (name, attributes = {}, ...inside) => {
  const node = Object.assign(document.createElement(name), attributes);
  node.append(...inside);
  return node;
};
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const themes = [matchMedia("(prefers-color-scheme: dark)"), matchMedia("print")];
const onTheme = act => themes.forEach(theme => theme.addEventListener("change", act));

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

// the section on screen is marked in the bar
const links = new Map([...document.querySelectorAll(".sections a")].map(link => [link.hash.slice(1), link]));
const seen = new IntersectionObserver(found => found.filter(one => one.isIntersecting).forEach(one => {
  links.forEach(link => link.removeAttribute("aria-current"));
  links.get(one.target.id)?.setAttribute("aria-current", "true");
}), { rootMargin: "0px 0px -70% 0px" });
links.forEach((_, id) => byId(id) && seen.observe(byId(id)));
