// Any two columns against each other, with error bars; hover tells, click chooses, dragging zooms.

const MOST_BARS = 1500;
const FEW = 12; // points whose bars are inside the axes, too

function scatter(table, pick) {
  const numbers = table.columns.filter((column) => column.kind === "number" || column.kind === "whole");
  const options = (chosen) => numbers.map((column) => make("option", { value: column.key, textContent: named(column), selected: column.key === chosen }));
  const has = (key) => numbers.some((column) => column.key === key);
  const x = make("select", { "aria-label": "horizontal axis" }, options(has(table.x) ? table.x : numbers[0]?.key));
  const y = make("select", { "aria-label": "vertical axis" }, options(has(table.y) ? table.y : numbers[numbers.length - 1]?.key));
  const xLog = make("input", { type: "checkbox", "aria-label": "logarithmic horizontal axis" });
  const yLog = make("input", { type: "checkbox", checked: table.log_y, "aria-label": "logarithmic vertical axis" });
  const reset = make("button", { textContent: "whole range", hidden: true });
  const canvas = make("canvas", { role: "img" });
  const over = make("canvas", { className: "over", "aria-hidden": "true" });
  const tip = make("div", { className: "tip", hidden: true });
  const caption = make("p", { className: "hint" });
  const element = make("div", { className: "scatter" },
    make("div", { className: "tools" }, make("label", {}, "x", x), make("label", {}, xLog, "log"), make("label", {}, "y", y), make("label", {}, yLog, "log"), reset),
    make("div", { className: "plot" }, canvas, over, tip), caption);
  const state = { rows: [], chosen: -1, hover: -1, zoom: null, element, drag: null };
  let frame = null;
  let cells = new Map();

  const column = (key) => table.columns.find((c) => c.key === key);
  const bars = (key) => (column(key).std ? table.data[column(key).std] : null);

  state.show = (rows) => { state.rows = rows; state.draw(); };
  state.choose = (row) => { state.chosen = row; state.mark(); };

  state.draw = () => {
    if (!numbers.length || !canvas.clientWidth) return;
    const [xs, ys] = [table.data[x.value], table.data[y.value]];
    const [ex, ey] = [bars(x.value), bars(y.value)];
    const good = (row) => xs[row] !== null && ys[row] !== null && !(xLog.checked && xs[row] <= 0) && !(yLog.checked && ys[row] <= 0);
    const rows = Array.from(state.rows).filter(good);
    const ends = (values, bar, log) => span(rows.flatMap((r) => (bar && !log && rows.length <= FEW ? [values[r] - bar[r], values[r] + bar[r]] : [values[r]])), log);
    const range = state.zoom || { x: ends(xs, ex, xLog.checked), y: ends(ys, ey, yLog.checked) };
    frame = axes(canvas, { x: range.x, y: range.y, xLabel: named(column(x.value)), yLabel: named(column(y.value)), xLog: xLog.checked, yLog: yLog.checked });
    const { pen, sx, sy, box } = frame;
    const inside = rows.filter((r) => xs[r] >= range.x[0] && xs[r] <= range.x[1] && ys[r] >= range.y[0] && ys[r] <= range.y[1]);
    const colour = { plain: css("model"), flag: css("doubt") };
    const size = inside.length > 5000 ? 1.8 : inside.length > 800 ? 2.4 : 3.4;
    const all = inside.length <= MOST_BARS;
    const flagged = (row) => Boolean(table.flag && table.flags && table.flags[row]);
    cells = new Map();
    within(pen, box, () => {
      if (all && (ex || ey)) {
        pen.globalAlpha = inside.length > 300 ? 0.2 : 0.32;
        for (const row of inside) errorBar(pen, frame, xs[row], ys[row], ex?.[row], ey?.[row], flagged(row) ? colour.flag : colour.plain);
      }
      pen.globalAlpha = inside.length > 3000 ? 0.5 : 0.8;
      const stamps = [stamp(size, colour.plain), stamp(size, colour.flag)];
      for (const pass of [false, true]) {
        for (const row of inside) {
          if (flagged(row) !== pass) continue;
          const [px, py] = [sx(xs[row]), sy(ys[row])];
          pen.drawImage(stamps[Number(pass)], px - size - 1, py - size - 1, 2 * size + 2, 2 * size + 2);
          const key = `${Math.floor(px / 12)},${Math.floor(py / 12)}`;
          if (cells.has(key)) cells.get(key).push(row);
          else cells.set(key, [row]);
        }
      }
      pen.globalAlpha = 1;
    });
    reset.hidden = !state.zoom;
    const marks = table.flag && inside.some(flagged) ? ` Orange: ${table.flag}.` : "";
    const which = !ex && !ey ? " Neither has error bars." : all ? " Bars are one standard deviation." : ` Bars are one standard deviation; of more than ${MOST_BARS} points those of the point under the pointer and the chosen one.`;
    caption.textContent = `${inside.length.toLocaleString("en")} of ${table.rows.toLocaleString("en")} points.${marks}${which} Drag to zoom.`;
    canvas.setAttribute("aria-label", `${named(column(y.value))} against ${named(column(x.value))}, ${inside.length} points; the table has the same numbers`);
    state.mark();
  };

  // Above the points: the one under the pointer, the chosen one, the rectangle of a zoom.
  state.mark = () => {
    if (!frame) return;
    const ratio = window.devicePixelRatio || 1;
    [over.width, over.height] = [canvas.width, canvas.height];
    const pen = over.getContext("2d");
    pen.scale(ratio, ratio);
    const [xs, ys] = [table.data[x.value], table.data[y.value]];
    const [ex, ey] = [bars(x.value), bars(y.value)];
    const { sx, sy } = frame;
    within(pen, frame.box, () => {
      for (const [row, ring] of [[state.hover, 6], [state.chosen, 8]]) {
        if (row < 0 || xs[row] === null || ys[row] === null || (sx.log && xs[row] <= 0) || (sy.log && ys[row] <= 0)) continue;
        const tint = table.flag && table.flags && table.flags[row] ? css("doubt") : css("model");
        errorBar(pen, frame, xs[row], ys[row], ex?.[row], ey?.[row], tint, 1.8);
        pen.fillStyle = tint;
        pen.strokeStyle = css("ink");
        pen.lineWidth = 1.6;
        for (const [radius, end] of [[ring - 2, "fill"], [ring, "stroke"]]) {
          pen.beginPath();
          pen.arc(sx(xs[row]), sy(ys[row]), radius, 0, 2 * Math.PI);
          pen[end]();
        }
      }
      if (state.drag) rectangle(pen);
    });
  };

  function rectangle(pen) {
    const { from, to } = state.drag;
    pen.strokeStyle = css("model");
    pen.setLineDash([4, 3]);
    pen.strokeRect(from[0], from[1], to[0] - from[0], to[1] - from[1]);
    pen.setLineDash([]);
  }

  function nearest(px, py) {
    let best = -1;
    let least = 196;
    for (let a = -2; a <= 2; a += 1) {
      for (let b = -2; b <= 2; b += 1) {
        for (const row of cells.get(`${Math.floor(px / 12) + a},${Math.floor(py / 12) + b}`) || []) {
          const d = (frame.sx(table.data[x.value][row]) - px) ** 2 + (frame.sy(table.data[y.value][row]) - py) ** 2;
          if (d < least) [least, best] = [d, row];
        }
      }
    }
    return best;
  }

  function tell(row, px, py) {
    tip.hidden = row < 0;
    if (row < 0) return;
    const lines = [make("b", {}, rowTitle(table, row))];
    for (const key of [x.value, y.value]) {
      lines.push(make("div", { textContent: `${column(key).name}: ${withBar(table.data[key][row], bars(key)?.[row])} ${column(key).unit}` }));
    }
    const why = table.reasons ? table.data[table.reasons][row] : "";
    if (why) lines.push(make("p", { textContent: why.length > 240 ? `${why.slice(0, 240)}…` : why }));
    tip.replaceChildren(...lines);
    const left = px > frame.width / 2;
    tip.style.left = left ? "auto" : `${px + 14}px`;
    tip.style.right = left ? `${frame.width - px + 14}px` : "auto";
    tip.style.top = `${Math.min(py + 8, frame.height - tip.offsetHeight - 4)}px`;
  }

  const at = (event) => {
    const area = canvas.getBoundingClientRect();
    return [event.clientX - area.left, event.clientY - area.top];
  };
  over.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse") over.setPointerCapture(event.pointerId);
    state.drag = { from: at(event), to: at(event), mouse: event.pointerType === "mouse" };
  });
  over.addEventListener("pointermove", (event) => {
    if (!frame) return;
    const [px, py] = at(event);
    if (state.drag && state.drag.mouse) {
      state.drag.to = [px, py];
      if (Math.abs(px - state.drag.from[0]) + Math.abs(py - state.drag.from[1]) > 8) { tip.hidden = true; state.mark(); }
      return;
    }
    const row = nearest(px, py);
    if (row !== state.hover) { state.hover = row; state.mark(); }
    tell(row, px, py);
  });
  over.addEventListener("pointerup", (event) => {
    const drag = state.drag;
    state.drag = null;
    if (!frame || !drag) return;
    const [px, py] = at(event);
    const [fx, fy] = drag.from;
    if (drag.mouse && Math.abs(px - fx) > 8 && Math.abs(py - fy) > 8) {
      const order = (a, b) => (a < b ? [a, b] : [b, a]);
      state.zoom = { x: order(frame.sx.back(fx), frame.sx.back(px)), y: order(frame.sy.back(fy), frame.sy.back(py)) };
      state.draw();
      return;
    }
    const row = nearest(px, py);
    state.mark();
    if (row >= 0) { pick(row, true); tell(row, px, py); }
  });
  over.addEventListener("pointerleave", () => { state.hover = -1; tip.hidden = true; state.mark(); });
  over.addEventListener("pointercancel", () => { state.drag = null; });
  const whole = () => { state.zoom = null; state.draw(); };
  reset.addEventListener("click", whole);
  over.addEventListener("dblclick", whole);
  for (const control of [x, y, xLog, yLog]) control.addEventListener("change", whole);
  new ResizeObserver(() => state.draw()).observe(canvas);
  state.empty = !numbers.length;
  return state;
}

// A point, drawn once and put down as often as it is there: fifty thousand arcs take seconds, pictures do not.
function stamp(size, colour) {
  const ratio = window.devicePixelRatio || 1;
  const picture = document.createElement("canvas");
  picture.width = picture.height = Math.ceil((2 * size + 2) * ratio);
  const pen = picture.getContext("2d");
  pen.scale(picture.width / (2 * size + 2), picture.width / (2 * size + 2));
  pen.fillStyle = colour;
  pen.beginPath();
  pen.arc(size + 1, size + 1, size, 0, 2 * Math.PI);
  pen.fill();
  return picture;
}

function errorBar(pen, { sx, sy }, x, y, ex, ey, colour, width = 1) {
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.beginPath();
  if (ex) { const low = sx(Math.max(x - ex, sx.log ? sx.low : -Infinity)); pen.moveTo(low, sy(y)); pen.lineTo(sx(x + ex), sy(y)); }
  if (ey) { const low = sy(Math.max(y - ey, sy.log ? sy.low : -Infinity)); pen.moveTo(sx(x), low); pen.lineTo(sx(x), sy(y + ey)); }
  pen.stroke();
}

function rowTitle(table, row) {
  const name = rowName(table, row);
  const [first, ...rest] = name.split("  ");
  return make("span", {}, formula(first), rest.length ? `  ${rest.join(" ")}` : null);
}

function rowName(table, row) {
  const label = (table.label && table.data[table.label]?.[row]) ?? "";
  const chemical = String(table.data.formula?.[row] ?? "");
  if (chemical && String(label).toLowerCase() !== chemical.toLowerCase() && label !== "") return `${chemical}  ${label}`;
  return String(label === "" ? chemical || `row ${row + 1}` : label);
}
