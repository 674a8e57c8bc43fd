// The page: what was asked, what may be wrong, numbers, curves, tables with their scatter, the crystal of a row.

const DATA = JSON.parse(document.getElementById("data").textContent);
const PAGE = document.getElementById("page");
const PAUSE = 60; // ms, so that all else is there before WebGL starts
const redraws = [];
const card = (title, ...children) => make("section", { className: "card" }, title ? make("h2", { textContent: title }) : null, children);

function definitions(pairs) {
  return make("dl", {}, pairs.flatMap(([name, value]) => [make("dt", { textContent: name }), make("dd", {}, value)]));
}

function asked() {
  const cards = DATA.cards.map((model) => make("div", { className: "model-card" }, make("h3", { textContent: `Model ${model.name}` }), make("p", { className: "hint", textContent: model.title }), definitions(model.facts)));
  return card("What was asked", definitions(DATA.asked), cards);
}

function doubts(entries, title) {
  const order = ["failed", "doubt", "left out", "note"];
  const all = [...entries].sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind));
  const list = all.map((note) => make("li", { className: note.kind }, make("span", { className: "kind", textContent: note.kind }), note.about ? make("b", { textContent: `${note.about}: ` }) : null, note.text));
  return card(title, list.length ? make("ul", { className: "notes", tabIndex: 0 }, list) : make("p", { className: "hint", textContent: "Nothing was noted: no stage failed, no warning was raised. Error bars are those of the model against its own level of theory." }));
}

function numbers(subject) {
  const rows = subject.numbers;
  const some = (key) => rows.some((row) => row[key] !== null && row[key] !== undefined);
  const heads = ["quantity", "value", "unit", ...(some("dft") ? ["DFT"] : []), ...(some("experiment") ? ["experiment"] : [])];
  const line = (row) => {
    const cells = [make("td", { textContent: row.quantity }), make("td", { className: "n", textContent: withBar(row.value, row.std), title: row.std_from ? `error bar from ${row.std_from}` : row.std ? "" : "no error bar is known" }), make("td", { className: "unit", textContent: row.unit === "1" || row.unit === "dimensionless" ? "" : row.unit.replace("1e-6", "10⁻⁶") })];
    for (const key of ["dft", "experiment"]) {
      if (!some(key)) continue;
      const far = row[key] !== null && row[key] !== undefined && row.std && Math.abs(row.value - row[key]) > 2 * row.std;
      cells.push(make("td", { className: far ? "n far" : "n", textContent: row[key] === null || row[key] === undefined ? "" : short(row[key]), title: row[`${key}_source`] || "" }));
    }
    return make("tr", {}, cells);
  };
  const head = make("tr", {}, heads.map((name) => make("th", { textContent: name, scope: "col", className: ["quantity", "unit"].includes(name) ? "" : "n" })));
  const hint = `± is one standard deviation${some("dft") || some("experiment") ? "; orange: more than two of them away. Sources show under the pointer" : ""}.`;
  return [make("div", { className: "numbers-box", tabIndex: 0 }, make("table", { className: "numbers" }, make("thead", {}, head), make("tbody", {}, rows.map(line)))), make("p", { className: "hint", textContent: hint })];
}

function curves(subject) {
  const plots = make("div", { className: "plots" });
  for (const curve of subject.curves) {
    const figure = curveFigure(curve);
    redraws.push(figure.draw);
    plots.append(figure.element);
  }
  const pictures = make("div", { className: "pictures" }, subject.pictures.map((picture) => {
    const image = make("img", { src: picture.data, alt: picture.name });
    const figure = make("figure", {}, make("h3", { textContent: picture.name }), image);
    image.addEventListener("load", () => figure.classList.toggle("wide", image.naturalWidth > 1.9 * image.naturalHeight));
    return figure;
  }));
  return [subject.curves.length ? card("Curves", plots) : null, subject.pictures.length ? card("Pictures", pictures) : null].filter(Boolean);
}

function contributions(table, row) {
  const all = table.contributions;
  if (!all || !all.index[row] || !all.index[row].length) return null;
  const values = all.values[row];
  const most = Math.max(...values.map(Math.abs), 1e-12);
  const lines = all.index[row].map((name, k) => {
    const bar = make("i");
    bar.style.width = `${(100 * Math.abs(values[k])) / most}%`;
    return make("div", { className: "share" }, make("span", { textContent: all.names[name] }), make("div", { className: values[k] < 0 ? "track minus" : "track" }, bar), make("span", { textContent: short(values[k], 3) }));
  });
  const unit = all.unit ? ` (${all.unit})` : "";
  return make("div", { className: "reasons" }, make("h3", { textContent: `Largest contributions to the score${unit}` }), lines);
}

function facts(table, row) {
  const pairs = [];
  for (const column of table.columns) {
    if (column.of || column.key === table.reasons) continue;
    const value = table.data[column.key][row];
    if (value === null || value === "") continue;
    const text = column.kind === "flag" ? (value ? "yes" : "no") : column.kind === "text" ? value : `${withBar(value, column.std ? table.data[column.std][row] : null)} ${column.unit}`;
    pairs.push([column.name, column.name === "formula" ? formula(text) : text]);
  }
  return definitions(pairs);
}

function explorer(view, onSubject) {
  const box = { scatter: card("Any two columns against each other"), table: card(""), detail: make("div") };
  let now = null;
  let later = 0;
  const title = make("h2");
  const tabs = make("div", { className: "tabs" }, DATA.tables.length > 1 ? DATA.tables.map((table, k) => make("button", { textContent: table.name, "aria-pressed": "false", onclick: () => open(k) })) : []);
  const search = make("input", { type: "search", "aria-label": "filter rows" });
  const count = make("span", { className: "count", "aria-live": "polite" });
  const csv = make("button", { textContent: "CSV", title: "save the rows that are shown" });
  const problem = make("p", { className: "hint wrong", hidden: true });
  const caption = make("p", { className: "hint" });
  const hold = make("div");
  box.table.append(title, tabs, caption, make("div", { className: "tools" }, search, count, csv), problem, hold);
  const drawing = make("div", { className: "scatter" });
  box.scatter.append(drawing);
  box.scatter.classList.add("scatter");

  function open(k) {
    const table = DATA.tables[k];
    [...tabs.children].forEach((tab, n) => tab.setAttribute("aria-pressed", String(n === k)));
    title.textContent = table.name;
    caption.textContent = table.caption;
    const number = table.columns.find((c) => (c.kind === "number") && !c.of);
    search.placeholder = `filter: words${number ? `, or ${number.name.replace(/ /g, "_")} > ${short(0.1)}` : ""}`;
    search.value = "";
    const rows = rowsTable(table, choose);
    const plot = scatter(table, choose);
    now = { table, rows, plot, order: Int32Array.from({ length: table.rows }, (_, n) => n), kept: null };
    rows.onSort = () => refresh();
    hold.replaceChildren(rows.element);
    drawing.replaceChildren(plot.empty ? make("p", { className: "hint", textContent: "No column of numbers." }) : plot.element);
    refresh();
    const first = table.crystals ? table.crystals.findIndex((c) => c >= 0) : -1;
    if (DATA.lead === "tables" && first >= 0) choose(first, false, true);
    else box.detail.replaceChildren();
  }

  function refresh() {
    const { table, rows, plot } = now;
    const { tests, wrong } = parseFilter(search.value.trim(), table);
    problem.hidden = !wrong.length;
    problem.textContent = wrong.length ? `${wrong.join("; ")}. Columns: ${table.columns.filter((c) => !c.of).map((c) => c.name.replace(/ /g, "_")).join(", ")}` : "";
    let kept = tests.length ? now.order.filter((row) => tests.every((test) => test(row))) : now.order;
    if (plot.rows.length !== kept.length || now.text !== search.value) plot.show(kept);
    now.text = search.value;
    if (rows.key) kept = sorted(kept, table, rows.key, rows.down);
    now.kept = kept;
    rows.mark();
    rows.show(kept);
    count.textContent = `${kept.length.toLocaleString("en")} of ${table.rows.toLocaleString("en")} rows`;
  }

  function choose(row, scroll = false, first = false) {
    const { table, rows, plot } = now;
    rows.choose(row, scroll);
    plot.choose(row);
    const name = rowName(table, row);
    if (table.crystals || DATA.lead === "tables") {
      clearTimeout(later); // rows that are passed by with the arrow keys are not drawn
      later = setTimeout(() => view.show(table.crystals ? table.crystals[row] : -1, name), scroll ? 120 : first ? PAUSE : 0);
    }
    const why = table.reasons ? table.data[table.reasons][row] : "";
    const heading = make("h3", { className: "chosen-name" }, rowTitle(table, row));
    const reasons = why && !(table.contributions && table.contributions.index[row].length) ? make("p", { className: "reasons" }, make("b", { textContent: "reasons: " }), why) : null;
    const parts = [heading, contributions(table, row), reasons, make("div", { className: "facts", tabIndex: 0 }, facts(table, row))];
    box.detail.replaceChildren(...parts.filter(Boolean));
    if (table.subjects) onSubject(table.subjects[row]);
  }

  function text(value) {
    const plain = value === null ? "" : String(value);
    return /[",\n]/.test(plain) ? `"${plain.replace(/"/g, '""')}"` : plain;
  }
  csv.addEventListener("click", () => {
    const { table, kept } = now;
    const lines = [table.columns.map((c) => text(c.key)).join(",")];
    for (const row of kept) lines.push(table.columns.map((c) => text(table.data[c.key][row])).join(","));
    save(`${table.name.toLowerCase()}.csv`, `${lines.join("\n")}\n`);
  });
  let pause = 0;
  search.addEventListener("input", () => { clearTimeout(pause); pause = setTimeout(refresh, now.table.rows > 5000 ? 200 : 0); });
  redraws.push(() => now.plot.draw());
  box.open = open;
  return box;
}

function start() {
  const title = make("header", {}, make("div", { className: "eyebrow", textContent: `ase_mlx ${DATA.kind}` }), make("h1", { textContent: DATA.title }), make("p", { textContent: DATA.about }));
  const view = DATA.crystals.length ? crystalView(DATA) : { element: make("p", { className: "hint", textContent: "No crystal is in this page." }), show() {}, redraw() {} };
  redraws.push(() => view.redraw());
  const detail = make("div");
  const showSubject = (k) => {
    const subject = DATA.subjects[k];
    const parts = [];
    if (!subject) return;
    if (DATA.lead === "tables" && subject.numbers.length) parts.push(card(`${subject.name}: numbers`, numbers(subject)));
    parts.push(...curves(subject).map((part) => { if (DATA.subjects.length > 1) part.querySelector("h2").prepend(`${subject.name}: `); return part; }));
    detail.replaceChildren(...parts.map((part) => make("div", { className: "grid" }, part)));
  };
  const top = make("div", { className: "grid two" }, asked(), doubts(DATA.notes, "Where it may be wrong"));
  const box = DATA.tables.length ? explorer(view, showSubject) : null;
  const crystal = card("Crystal", view.element, box ? box.detail : null);
  PAGE.replaceChildren(title, top);
  const subject = DATA.subjects[0];
  if (DATA.lead === "structure") {
    PAGE.append(make("div", { className: "grid wide-left loose" }, card("Numbers", subject.numbers.length ? numbers(subject) : make("p", { className: "hint", textContent: "No number came out; the reasons stand above." })), crystal), detail);
    if (box) PAGE.append(make("div", { className: "grid" }, box.scatter, box.table));
  } else {
    PAGE.append(make("div", { className: "grid wide-left" }, box ? box.scatter : null, crystal), make("div", { className: "grid" }, box ? box.table : null), detail);
  }
  PAGE.append(make("footer", { textContent: `Written by ase-mlx ${DATA.version}; nothing here is asked from a network.${DATA.crystals.length ? " Crystals are drawn by 3Dmol.js (BSD-3-Clause, University of Pittsburgh and contributors; its licence stands in this file). Bonds are distances below 1.18 sums of covalent radii." : ""}` }));
  if (box) box.open(0);
  if (DATA.lead === "structure") {
    setTimeout(() => view.show(subject.crystal ?? -1, subject.formula || subject.name), PAUSE);
    showSubject(0);
  } else if (DATA.subjects.length) showSubject(0);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraws.forEach((draw) => draw()));
  document.documentElement.dataset.seconds = (performance.now() / 1000).toFixed(2);
  document.documentElement.dataset.ready = "yes";
}

start();
