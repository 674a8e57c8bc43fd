// Elements, numbers and the axes that scatter and curves share.

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "for") element.setAttribute(name, value);
    else element[name] = value;
  }
  for (const child of children.flat(Infinity)) if (child !== null && child !== undefined) element.append(child);
  return element;
}

function formula(text) {
  const span = make("span");
  if (!/^[A-Z][A-Za-z0-9()]*$/.test(text)) return make("span", { textContent: text });
  for (const part of text.split(/(\d+)/)) if (part) span.append(/\d/.test(part) ? make("sub", { textContent: part }) : part);
  return span;
}

const minus = (text) => text.replace(/-/g, "−");

function short(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || size < 1e-4)) {
    const [front, power] = value.toExponential(Math.max(digits - 2, 0)).split("e");
    return minus(`${Number(front)}e${Number(power)}`);
  }
  return minus(String(Number(value.toPrecision(digits))));
}

// A number and its standard deviation, to two digits of the latter.
function withBar(value, std) {
  if (value === null || value === undefined) return "–";
  if (!std || !Number.isFinite(std)) return short(value);
  const places = 1 - Math.floor(Math.log10(std));
  if (places > 7 || places < -6) return `${short(value, 5)} ± ${short(std, 2)}`;
  const round = (x) => minus((Math.round(x * 10 ** places) / 10 ** places).toFixed(Math.max(places, 0)));
  return `${round(value)} ± ${round(std)}`;
}

function niceTicks(low, high, count) {
  const raw = (high - low) / Math.max(count, 1);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999) || power;
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k += 1) ticks.push(k * step);
  const places = Math.max(0, Math.min(12, -Math.floor(Math.log10(step) + 1e-9) + (Math.abs(step / power - 2.5) < 1e-6 ? 1 : 0)));
  const big = Math.max(Math.abs(low), Math.abs(high));
  const label = (t) => (big >= 1e5 || big < 1e-3 ? short(Number(t.toPrecision(6)), 5) : minus((Math.abs(t) < step / 1e6 ? 0 : t).toFixed(places)));
  return ticks.map((at) => ({ at, label: label(at) }));
}

function logTicks(low, high, most) {
  const decades = Math.log10(high / low);
  const steps = decades < 2 ? [1, 2, 5] : decades < 3.5 ? [1, 3] : [1];
  let ticks = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e += 1) {
    for (const m of steps) {
      const at = m * 10 ** e;
      if (at >= low * 0.999 && at <= high * 1.001) ticks.push({ at, label: short(at, 2) });
    }
  }
  if (ticks.length < 2) ticks = niceTicks(low, high, 4).filter((t) => t.at > 0);
  const skip = Math.ceil(ticks.length / most);
  return ticks.filter((_, k) => k % skip === 0);
}

// One axis: from values to pixels and back.
function scale(low, high, from, to, log) {
  const f = log ? Math.log10 : (x) => x;
  const a = f(low);
  const b = f(high) === a ? a + 1 : f(high);
  const place = (x) => from + ((f(x) - a) / (b - a)) * (to - from);
  place.back = (pixel) => {
    const t = a + ((pixel - from) / (to - from)) * (b - a);
    return log ? 10 ** t : t;
  };
  return Object.assign(place, { low, high, log });
}

function span(values, log, zero = false) {
  let low = Infinity;
  let high = -Infinity;
  for (const x of values) {
    if (x === null || x === undefined || (log && x <= 0)) continue;
    if (x < low) low = x;
    if (x > high) high = x;
  }
  if (low > high) return [log ? 1 : 0, log ? 10 : 1];
  if (log) return [low / (high / low) ** 0.04 / 1.02, high * (high / low) ** 0.04 * 1.02];
  if (low === high) return [low - (Math.abs(low) || 1) * 0.05, high + (Math.abs(high) || 1) * 0.05];
  const room = (high - low) * 0.05;
  return [zero && low >= 0 ? 0 : low - room, high + room];
}

// Frame, ticks, grid and labels on a canvas; gives the pen, the two scales and the frame's corners.
function axes(canvas, { x, y, xLabel, yLabel, xLog = false, yLog = false, xTicks = null }) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.clearRect(0, 0, width, height);
  pen.font = "12.5px system-ui, sans-serif";
  const rows = Math.max(3, Math.floor(height / 62));
  const yAll = yLog ? logTicks(y[0], y[1], rows) : niceTicks(y[0], y[1], rows);
  const widest = Math.max(...yAll.map((t) => pen.measureText(t.label).width), 10);
  const box = { left: Math.ceil(widest) + (yLabel ? 34 : 16), right: width - 14, top: 12, bottom: height - (xLabel ? 46 : 28) };
  const columns = Math.max(2, Math.floor((box.right - box.left) / 66));
  const xAll = xTicks || (xLog ? logTicks(x[0], x[1], columns) : niceTicks(x[0], x[1], columns));
  const sx = scale(x[0], x[1], box.left, box.right, xLog);
  const sy = scale(y[0], y[1], box.bottom, box.top, yLog);
  pen.strokeStyle = css("grid");
  pen.fillStyle = css("soft");
  pen.lineWidth = 1;
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  for (const tick of yAll) {
    const at = Math.round(sy(tick.at)) + 0.5;
    if (at < box.top - 1 || at > box.bottom + 1) continue;
    pen.beginPath();
    pen.moveTo(box.left, at);
    pen.lineTo(box.right, at);
    pen.stroke();
    pen.fillText(tick.label, box.left - 8, at);
  }
  pen.textBaseline = "top";
  pen.textAlign = "center";
  let least = -Infinity;
  for (const tick of xAll) {
    const at = Math.round(sx(tick.at)) + 0.5;
    if (at < box.left - 1 || at > box.right + 1) continue;
    pen.beginPath();
    pen.moveTo(at, box.top);
    pen.lineTo(at, box.bottom);
    pen.stroke();
    const half = pen.measureText(tick.label).width / 2;
    if (at - half > least) {
      pen.fillText(tick.label, Math.min(at, width - half - 2), box.bottom + 8);
      least = at + half + 6;
    }
  }
  pen.strokeStyle = css("edge");
  pen.beginPath();
  pen.moveTo(box.left + 0.5, box.top);
  pen.lineTo(box.left + 0.5, box.bottom + 0.5);
  pen.lineTo(box.right, box.bottom + 0.5);
  pen.stroke();
  pen.fillStyle = css("ink");
  pen.font = "13px system-ui, sans-serif";
  fit(pen, xLabel, (box.left + box.right) / 2, box.bottom + 27, box.right - box.left);
  if (yLabel) {
    pen.save();
    pen.translate(6, (box.top + box.bottom) / 2);
    pen.rotate(-Math.PI / 2);
    fit(pen, yLabel, 0, 0, box.bottom - box.top + 20);
    pen.restore();
  }
  return { pen, sx, sy, box, width, height };
}

function fit(pen, text, x, y, room) {
  if (!text) return;
  let shown = text;
  while (shown.length > 4 && pen.measureText(shown).width > room) shown = `${shown.slice(0, -2)}…`;
  pen.fillText(shown, x, y);
}

function within(pen, box, draw) {
  pen.save();
  pen.beginPath();
  pen.rect(box.left, box.top, box.right - box.left, box.bottom - box.top);
  pen.clip();
  draw();
  pen.restore();
}
