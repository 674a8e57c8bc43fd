// A table of any length: filtered, sorted, and only the rows in sight are in the page.

const ROW = 30;

const named = (column) => (column.unit ? `${column.name} (${column.unit})` : column.name);

// How many decimals a column shows, so that its points stand below one another.
function decimals(table, column) {
  if (column.kind === "whole") return 0;
  const pick = (key) => {
    const all = table.data[key];
    const step = Math.max(1, Math.floor(all.length / 400));
    const sizes = [];
    for (let k = 0; k < all.length; k += step) if (all[k]) sizes.push(Math.abs(all[k]));
    return sizes.sort((a, b) => a - b);
  };
  const sizes = pick(column.key);
  if (!sizes.length) return 0;
  const top = sizes[Math.floor(sizes.length * 0.9)];
  let places = 3 - Math.floor(Math.log10(top));
  const bars = column.std ? pick(column.std) : [];
  if (bars.length) places = Math.min(1 - Math.floor(Math.log10(bars[Math.floor(bars.length * 0.5)])), places + 3);
  if (top < 1e-3 || top >= 1e7) return -1;
  return Math.max(0, Math.min(6, places));
}

function cellText(column, value, places) {
  if (value === null || value === undefined || value === "") return "–";
  if (column.kind === "flag") return value ? "yes" : "no";
  if (column.kind === "text") return value;
  return places < 0 ? short(value) : minus(value.toFixed(places).replace(/^-(0\.?0*)$/, "$1"));
}

// "formation_energy<-1 oxide": comparisons of columns, and words that some text has.
function parseFilter(text, table) {
  const tests = [];
  const wrong = [];
  const key = (name) => name.toLowerCase().replace(/[\s_]+/g, "");
  const rest = text.replace(/([^\s<>=!][^<>=!]*?)\s*(<=|>=|!=|=|<|>)\s*("[^"]*"|\S+)/g, (whole, left, sign, right) => {
    const words = left.trim().split(/\s+/);
    for (let start = 0; start < words.length; start += 1) {
      const name = key(words.slice(start).join(" "));
      const column = table.columns.find((c) => key(c.name) === name || key(c.key) === name)
        || table.columns.find((c) => key(c.name).startsWith(name));
      if (column) {
        const value = right.replace(/^"|"$/g, "").replace("−", "-");
        tests.push(compare(table, column, sign, value));
        if (column.kind !== "text" && column.kind !== "flag" && !Number.isFinite(Number(value))) wrong.push(`${value} is no number`);
        return words.slice(0, start).join(" ");
      }
    }
    wrong.push(`no column is called ${words[words.length - 1]}`);
    return "";
  });
  const texts = table.columns.filter((c) => c.kind === "text").map((c) => table.data[c.key]);
  for (const word of rest.toLowerCase().split(/\s+/).filter(Boolean)) {
    tests.push((row) => texts.some((values) => values[row].toLowerCase().includes(word)));
  }
  return { tests, wrong };
}

function compare(table, column, sign, right) {
  const values = table.data[column.key];
  if (column.kind === "text") {
    const word = right.toLowerCase();
    return sign === "!=" ? (row) => values[row].toLowerCase() !== word : (row) => values[row].toLowerCase() === word;
  }
  const number = column.kind === "flag" ? Number(/^(yes|true|1)$/i.test(right)) : Number(right);
  const tests = {
    "<": (x) => x < number, ">": (x) => x > number, "<=": (x) => x <= number, ">=": (x) => x >= number,
    "=": (x) => x === number, "!=": (x) => x !== number,
  };
  return (row) => values[row] !== null && tests[sign](values[row]);
}

function sorted(rows, table, key, down) {
  const column = table.columns.find((c) => c.key === key);
  const values = table.data[key];
  const out = Int32Array.from(rows);
  if (column.kind === "text") {
    const order = new Intl.Collator("en", { numeric: true });
    const unique = [...new Set(values)].sort(order.compare);
    const places = new Map(unique.map((value, k) => [value, value === "" ? Infinity : k]));
    const ranks = values.map((value) => places.get(value));
    return sortBy(out, ranks, down);
  }
  return sortBy(out, values, down);
}

// Unknown values stand at the end, whichever way; rows of equal values keep their order.
function sortBy(rows, values, down) {
  const sign = down ? -1 : 1;
  const gone = (x) => x === null || x === Infinity;
  return rows.sort((a, b) => {
    const [x, y] = [values[a], values[b]];
    if (gone(x) || gone(y)) return (gone(x) ? 1 : 0) - (gone(y) ? 1 : 0) || a - b;
    return x === y ? a - b : x < y ? -sign : sign;
  });
}

function rowsTable(table, pick) {
  const shown = table.columns.filter((column) => !column.of);
  const places = new Map(table.columns.map((column) => [column.key, column.kind === "text" || column.kind === "flag" ? 0 : decimals(table, column)]));
  const widths = shown.map((column) => columnWidth(table, column, places));
  const template = widths.map((w, k) => (k === widths.length - 1 && shown[k].kind === "text" ? `minmax(${w}px, 1fr)` : `${w}px`)).join(" ");
  const box = make("div", { className: "rows", tabIndex: 0, role: "table", "aria-label": `${table.name}, ${table.rows} rows; arrow keys move, Enter opens` });
  const head = make("div", { className: "head", role: "row" });
  const body = make("div", { className: "body", role: "rowgroup" });
  head.style.gridTemplateColumns = template;
  box.append(head, body);
  const state = { rows: [], key: "", down: false, chosen: -1, element: box };
  const heads = shown.map((column) => {
    const title = make("button", { title: `sort by ${named(column)}` }, column.name, column.unit ? make("small", { textContent: column.unit }) : null);
    const bar = column.std ? make("button", { className: "bar", textContent: "±", title: `sort by the error bar of ${column.name}` }) : null;
    const cell = make("div", { role: "columnheader", "aria-sort": "none", className: column.kind === "text" ? "" : "n" }, title, bar);
    title.addEventListener("click", () => sortOn(column.key));
    if (bar) bar.addEventListener("click", () => sortOn(column.std));
    head.append(cell);
    return { column, cell, title, bar };
  });

  function sortOn(key) {
    const column = table.columns.find((c) => c.key === key);
    state.down = state.key === key ? !state.down : column.kind !== "text" && key !== "rank" && Boolean(column.of);
    state.key = key;
    state.onSort(key, state.down);
  }

  state.mark = () => {
    for (const { column, cell, title, bar } of heads) {
      const here = state.key === column.key || state.key === column.std;
      cell.setAttribute("aria-sort", here ? (state.down ? "descending" : "ascending") : "none");
      title.classList.toggle("on", state.key === column.key);
      if (bar) bar.classList.toggle("on", Boolean(column.std) && state.key === column.std);
      const arrow = here ? (state.down ? " ↓" : " ↑") : "";
      title.firstChild.textContent = column.name + (state.key === column.key ? arrow : "");
      if (bar) bar.textContent = `±${state.key === column.std ? arrow : ""}`;
    }
  };

  state.show = (rows) => {
    state.rows = rows;
    body.style.height = `${Math.max(rows.length, 1) * ROW}px`;
    body.style.minWidth = `${widths.reduce((a, b) => a + b, 0)}px`;
    box.setAttribute("aria-rowcount", rows.length + 1);
    box.scrollTop = 0;
    draw();
  };

  function draw() {
    const first = Math.max(0, Math.floor(box.scrollTop / ROW) - 6);
    const last = Math.min(state.rows.length, first + Math.ceil(box.clientHeight / ROW) + 14);
    const parts = [];
    for (let k = first; k < last; k += 1) parts.push(rowElement(k, state.rows[k]));
    body.replaceChildren(...parts);
    if (!state.rows.length) body.append(make("p", { className: "hint", textContent: "  No row passes the filter." }));
  }

  function rowElement(k, row) {
    const element = make("div", { className: "row", role: "row", "aria-rowindex": k + 2 });
    element.style.gridTemplateColumns = template;
    element.style.top = `${k * ROW}px`;
    element.dataset.row = row;
    if (row === state.chosen) element.classList.add("chosen");
    if (table.flags && table.flags[row]) element.classList.add("flag");
    for (const column of shown) {
      const value = table.data[column.key][row];
      const text = cellText(column, value, places.get(column.key));
      const cell = make("div", { role: "cell", className: column.kind === "text" ? "" : "n" });
      if (text === "–") cell.classList.add("no");
      if (column.kind === "text") cell.title = text;
      if (column.name === "formula") cell.append(formula(text));
      else cell.append(text);
      const std = column.std ? table.data[column.std][row] : null;
      if (std !== null && text !== "–") cell.append(make("span", { className: "err", textContent: ` ± ${cellText(column, std, places.get(column.key))}` }));
      element.append(cell);
    }
    return element;
  }

  state.choose = (row, scroll) => {
    state.chosen = row;
    const k = state.rows.indexOf(row);
    if (scroll && k >= 0) {
      const top = k * ROW;
      const bottom = top + ROW + head.offsetHeight;
      if (top < box.scrollTop) box.scrollTop = top;
      else if (bottom > box.scrollTop + box.clientHeight) box.scrollTop = bottom - box.clientHeight;
    }
    draw();
  };

  let waiting = false;
  box.addEventListener("scroll", () => {
    if (!waiting) requestAnimationFrame(() => { waiting = false; draw(); });
    waiting = true;
  });
  body.addEventListener("click", (event) => {
    const row = event.target.closest(".row");
    if (row) pick(Number(row.dataset.row));
  });
  box.addEventListener("keydown", (event) => {
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 15, PageUp: -15, Home: -Infinity, End: Infinity };
    if (event.target !== box || !(event.key in steps) || !state.rows.length) return;
    event.preventDefault();
    const at = state.rows.indexOf(state.chosen);
    const next = Math.min(state.rows.length - 1, Math.max(0, (at < 0 ? -1 : at) + steps[event.key]));
    pick(state.rows[next], true);
  });
  new ResizeObserver(draw).observe(box);
  return state;
}

const ruler = document.createElement("canvas").getContext("2d");

function textWidth(text, bold = false) {
  ruler.font = `${bold ? "600 13px" : "13.5px"} ${getComputedStyle(document.body).fontFamily}`;
  return ruler.measureText(text).width;
}

function columnWidth(table, column, places) {
  const values = table.data[column.key];
  const step = Math.max(1, Math.floor(values.length / 300));
  const texts = new Set();
  for (let k = 0; k < values.length; k += step) {
    let text = cellText(column, values[k], places.get(column.key));
    const std = column.std ? table.data[column.std][k] : null;
    if (std !== null && text !== "–") text += ` ± ${cellText(column, std, places.get(column.key))}`;
    texts.add(text);
  }
  const longest = Math.max(...[...texts].sort((a, b) => b.length - a.length).slice(0, 12).map((text) => textWidth(text)));
  const words = column.name.split(" ").map((word) => textWidth(`${word} ↓`, true));
  const title = Math.max(...words, Math.min(textWidth(`${column.name} ↓`, true), 110), textWidth(column.unit, true) * 0.95) + (column.std ? 26 : 0);
  return Math.round(Math.min(Math.max(longest + 4, title), column.kind === "text" ? 420 : 300) + 18);
}
