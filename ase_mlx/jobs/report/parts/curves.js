// Lines with shades of one and two standard deviations; the pointer reads them off.

function curveFigure(curve) {
  const canvas = make("canvas", { role: "img", "aria-label": `${curve.name}: ${curve.y} against ${curve.x || "the path"}` });
  const caption = make("figcaption");
  const figure = make("figure", { className: curve.ticks.length ? "wide" : "" }, make("h3", { textContent: curve.name }), canvas, caption);
  const colours = ["model", "line2", "line3", "line4"];
  const one = curve.lines.every((l) => !l.name);
  const barred = curve.lines.some((l) => l.std);
  const rest = [barred && !curve.note.includes("Shades") ? "Shades: one and two standard deviations." : "", curve.note].filter(Boolean).join(" ").trim();
  const legend = one || curve.lines.length < 2 ? null : make("p", { className: "legend" }, curve.lines.map((l, k) => {
    const dot = make("i", { className: "dot" });
    dot.style.background = `var(--${colours[k % colours.length]})`;
    return make("span", {}, dot, l.name);
  }));
  if (legend) figure.append(legend);
  const xs = curve.at;
  let frame = null;

  function ends() {
    const values = [];
    for (const l of curve.lines) {
      l.values.forEach((v, k) => {
        if (v === null) return;
        const bar = l.std?.[k] || 0;
        values.push(v - bar, v + bar);
      });
    }
    const [low, high] = span(values, curve.log_y, curve.zero && Math.min(...values) > -1e-9 * Math.max(...values.map(Math.abs)));
    return [low, high];
  }

  function draw() {
    if (!canvas.clientWidth) return;
    const x = curve.log_x ? [xs[0], xs[xs.length - 1]] : curve.ticks.length || xs.length > 3 ? [xs[0], xs[xs.length - 1]] : span(xs, false);
    const named = curve.ticks.length ? curve.ticks.map(([at, label]) => ({ at, label })) : null;
    frame = axes(canvas, { x: x[0] === x[1] ? span(xs, false) : x, y: ends(), xLabel: curve.x, yLabel: curve.y, xLog: curve.log_x, yLog: curve.log_y, xTicks: named });
    const { pen, sx, sy, box } = frame;
    within(pen, box, () => {
      curve.lines.forEach((l, k) => {
        const colour = css(one ? "model" : colours[k % colours.length]);
        if (l.std) {
          for (const [width, alpha] of [[2, 0.13], [1, 0.22]]) {
            pen.fillStyle = colour;
            pen.globalAlpha = alpha;
            band(pen, sx, sy, l, width);
          }
          pen.globalAlpha = 1;
        }
        pen.strokeStyle = colour;
        pen.lineWidth = curve.lines.length > 12 ? 1.2 : 1.8;
        stroke(pen, sx, sy, l.values);
        if (xs.length <= 12) dots(pen, sx, sy, l, colour);
      });
      if (sy.low < 0 && sy.high > 0) {
        pen.strokeStyle = css("edge");
        pen.lineWidth = 1;
        pen.beginPath();
        pen.moveTo(box.left, sy(0));
        pen.lineTo(box.right, sy(0));
        pen.stroke();
      }
    });
  }

  // Runs without gaps; a path that jumps has the same place twice.
  function runs(values) {
    const out = [];
    let run = [];
    values.forEach((v, k) => {
      if (v === null) { if (run.length) out.push(run); run = []; return; }
      run.push(k);
    });
    if (run.length) out.push(run);
    return out;
  }

  function stroke(pen, sx, sy, values) {
    for (const run of runs(values)) {
      pen.beginPath();
      run.forEach((k, n) => (n ? pen.lineTo(sx(xs[k]), sy(values[k])) : pen.moveTo(sx(xs[k]), sy(values[k]))));
      pen.stroke();
    }
  }

  const low = (sy, value) => sy(sy.log ? Math.max(value, sy.low / 10) : value);

  function band(pen, sx, sy, l, width) {
    for (const run of runs(l.values)) {
      pen.beginPath();
      run.forEach((k, n) => (n ? pen.lineTo : pen.moveTo).call(pen, sx(xs[k]), low(sy, l.values[k] + width * (l.std[k] || 0))));
      [...run].reverse().forEach((k) => pen.lineTo(sx(xs[k]), low(sy, l.values[k] - width * (l.std[k] || 0))));
      pen.fill();
    }
  }

  function dots(pen, sx, sy, l, colour) {
    l.values.forEach((v, k) => {
      if (v === null) return;
      errorBar(pen, { sx, sy }, xs[k], v, 0, l.std?.[k], colour, 1.4);
      pen.fillStyle = colour;
      pen.beginPath();
      pen.arc(sx(xs[k]), sy(v), 3, 0, 2 * Math.PI);
      pen.fill();
    });
  }

  canvas.addEventListener("pointermove", (event) => {
    if (!frame) return;
    const area = canvas.getBoundingClientRect();
    const want = frame.sx.back(event.clientX - area.left);
    const k = xs.reduce((best, x, n) => (Math.abs(x - want) < Math.abs(xs[best] - want) ? n : best), 0);
    const high = frame.sy.back(event.clientY - area.top);
    const near = (l) => (l.values[k] === null ? Infinity : Math.abs(l.values[k] - high));
    const shown = one && curve.lines.length > 1 ? [curve.lines.reduce((a, b) => (near(b) < near(a) ? b : a))] : curve.lines;
    const unit = (curve.y.match(/\(((?:[^()]|\([^()]*\))+)\)$/) || ["", ""])[1];
    const texts = shown.map((l) => `${l.name ? `${l.name}: ` : ""}${withBar(l.values[k], l.std?.[k])}`);
    const place = curve.ticks.length ? "" : `${curve.x.split(" (")[0]} ${short(xs[k])}: `;
    caption.textContent = `${place}${texts.join(", ")} ${unit}`;
  });
  canvas.addEventListener("pointerleave", () => { caption.textContent = rest; });
  caption.textContent = rest;
  new ResizeObserver(draw).observe(canvas);
  return { element: figure, draw };
}
