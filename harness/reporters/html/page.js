"use strict";
// The page is whole without this: it sorts, searches, zooms, and shows tooltips to a finger.
const all = (query, within = document) => [...within.querySelectorAll(query)];

for (const table of all("table.sortable")) {
  const body = table.tBodies[0];
  const heads = all("th", table);
  const words = new Intl.Collator(undefined, { numeric: true });
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const number = head.classList.contains("n");
    const now = head.getAttribute("aria-sort");
    // Numbers begin with the largest, words with the first.
    const falling = now === null ? number : now === "ascending";
    heads.forEach((one) => one.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const keyed = [...body.rows].map((row) => {
      const cell = row.cells[column];
      return { row, key: number ? parseFloat(cell.dataset.key) : cell.textContent };
    });
    keyed.sort((a, b) => {
      if (!number) return (falling ? -1 : 1) * words.compare(a.key, b.key);
      // What is not known stays at the end.
      if (isNaN(a.key) || isNaN(b.key)) return isNaN(a.key) - isNaN(b.key);
      return falling ? b.key - a.key : a.key - b.key;
    });
    body.append(...keyed.map((one) => one.row));
  }));
}

for (const box of all(".operators")) {
  const search = box.querySelector(".search");
  const found = box.querySelector(".found");
  const look = () => {
    const wanted = search.value.trim().toLowerCase().split(/\s+/);
    for (const panel of all(".panel", box)) {
      const rows = all("tbody tr", panel);
      let shown = 0;
      for (const row of rows) {
        const tip = row.querySelector("bdi[title]");
        const text = (row.textContent + " " + (tip ? tip.title : "")).toLowerCase();
        row.hidden = !wanted.every((word) => text.includes(word));
        shown += !row.hidden;
      }
      if (getComputedStyle(panel).display !== "none") {
        found.textContent = search.value.trim() ? `${shown} of ${rows.length} rows` : "";
      }
    }
  };
  search.addEventListener("input", look);
  search.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { search.value = ""; look(); }
  });
  all("input[type=radio]", box).forEach((one) => one.addEventListener("change", look));
}

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.matches("input")) return;
  const search = document.querySelector(".search");
  if (search) { event.preventDefault(); search.focus(); }
});

for (const button of all("[data-zoom]")) {
  button.addEventListener("click", () => {
    const figure = button.closest("figure");
    const pane = figure.querySelector(".scroll");
    const middle = (pane.scrollLeft + pane.clientWidth / 2) / pane.scrollWidth;
    figure.querySelector(".zoomed").className = `zoomed x${button.dataset.zoom}`;
    all("[data-zoom]", figure).forEach((one) => one.setAttribute("aria-pressed", one === button));
    pane.scrollLeft = middle * pane.scrollWidth - pane.clientWidth / 2;
  });
}

// A browser shows the title of a mark to a mouse at rest only: a click or a tap shows it at once.
let tip = null;
const drop = () => { tip?.remove(); tip = null; };
document.addEventListener("click", (event) => {
  drop();
  const mark = event.target.closest?.("svg *");
  const title = mark?.querySelector(":scope > title") ?? mark?.closest(".box")?.querySelector(":scope > title");
  const text = title?.textContent ?? event.target.closest?.("span.bound, bdi[title]")?.title;
  if (!text) return;
  tip = document.createElement("div");
  tip.id = "tip";
  tip.setAttribute("role", "status");
  tip.textContent = text;
  document.body.append(tip);
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(event.clientX + 10, innerWidth - width - 8))}px`;
  tip.style.top = `${event.clientY + height + 24 > innerHeight ? event.clientY - height - 10 : event.clientY + 14}px`;
});
addEventListener("scroll", drop, { passive: true });
document.addEventListener("keydown", (event) => { if (event.key === "Escape") drop(); });

// The way through the page shows where one is.
const links = new Map(all("nav a").map((link) => [link.hash.slice(1), link]));
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    all("nav a[aria-current]").forEach((link) => link.removeAttribute("aria-current"));
    links.get(entry.target.id)?.setAttribute("aria-current", "true");
  }
}, { rootMargin: "-15% 0px -75% 0px" });
all("section[id]").forEach((section) => seen.observe(section));

// Paper cannot be unfolded.
addEventListener("beforeprint", () => all("details").forEach((one) => { one.open = true; }));
