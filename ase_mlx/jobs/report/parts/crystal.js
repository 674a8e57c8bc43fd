// A crystal in three dimensions, by 3Dmol.js: atoms of the cell and on its faces, bonds, the cell's edges.

const SLACK = 1.18; // of the sum of two covalent radii that still is a bond
const MOST_DRAWN = 3000;

function crystalView(data) {
  const place = make("div");
  const box = make("div", { className: "crystal" }, place);
  const cells = make("select", { "aria-label": "cells shown" }, ["1 × 1 × 1", "2 × 2 × 2", "3 × 3 × 3"].map((text, k) => make("option", { value: k + 1, textContent: text })));
  const style = make("select", { "aria-label": "atoms drawn as" }, ["balls and sticks", "spheres"].map((text) => make("option", { value: text, textContent: text })));
  const turn = make("button", { textContent: "turn", "aria-pressed": "false", title: "let it turn" });
  const file = make("button", { textContent: "CIF", title: "save this crystal as a CIF (space group P1)" });
  const tools = make("div", { className: "tools" }, make("label", {}, "cells", cells), style, turn, file);
  const legend = make("p", { className: "legend" });
  const element = make("div", {}, tools, box, legend);
  const view = { element, viewer: null, current: -1, atoms: 0, turned: false };
  const empty = (text) => { box.querySelector(".empty")?.remove(); if (text) box.append(make("p", { className: "empty", textContent: text })); };

  function ready() {
    if (view.viewer) return true;
    try {
      view.viewer = $3Dmol.createViewer(place, { backgroundColor: css("viewer"), antialias: true });
    } catch (error) {
      view.viewer = null;
    }
    if (!view.viewer) empty("This browser shows no WebGL, which crystals are drawn with. The structure is in the files beside this page.");
    return Boolean(view.viewer);
  }

  view.show = (index, name) => {
    view.current = index;
    view.name = name;
    tools.hidden = legend.hidden = index < 0 || index === undefined;
    if (index === undefined || index < 0) {
      view.atoms = 0;
      if (view.viewer) { view.viewer.removeAllModels(); view.viewer.removeAllShapes(); view.viewer.render(); }
      empty(name ? `${name}: this page has no crystal of it.` : "Click a point or a row to see its crystal.");
      return;
    }
    empty("");
    file.hidden = !fractions(data.crystals[index]); // a CIF needs a cell
    cells.value = data.crystals[index].symbols.length > 2 ? "1" : "2";
    if (ready()) drawCrystal();
  };

  function drawCrystal() {
    const crystal = data.crystals[view.current];
    const count = Number(cells.value);
    const viewer = view.viewer;
    viewer.setBackgroundColor(css("viewer"));
    viewer.removeAllModels();
    viewer.removeAllShapes();
    const atoms = images(crystal, count, data.elements);
    const big = style.value === "spheres";
    const model = viewer.addModel();
    model.addAtoms(atoms);
    const radius = (symbol) => (data.elements[symbol] || 1.2) * (big ? 1 : 0.36);
    for (const symbol of new Set(atoms.map((a) => a.elem))) {
      const look = { sphere: { radius: radius(symbol), colorscheme: "Jmol" } };
      if (!big) look.stick = { radius: 0.1, colorscheme: "Jmol" };
      viewer.setStyle({ elem: symbol }, look);
    }
    edges(crystal, count).forEach(([a, b]) => viewer.addCylinder({ start: a, end: b, radius: 0.025, color: css("cell"), fromCap: 1, toCap: 1 }));
    view.atoms = atoms.length;
    viewer.zoomTo();
    if (!view.turned) { // once: 3Dmol.js adds every turn to those before
      viewer.rotate(-70, "x");
      viewer.rotate(-14, "y");
      view.turned = true;
    }
    viewer.zoom(0.86);
    viewer.render();
    legend.replaceChildren(...tally(crystal).map(([symbol, n]) => {
      const dot = make("i", { className: "dot" });
      dot.style.background = `#${(($3Dmol.elementColors.Jmol || {})[symbol] ?? 0x999999).toString(16).padStart(6, "0")}`;
      return make("span", {}, dot, `${symbol} ${n}`);
    }), make("span", { textContent: `${cellWords(crystal)}${atoms.length < MOST_DRAWN ? "" : `; only ${MOST_DRAWN} atoms are drawn`}` }));
  }

  for (const control of [cells, style]) control.addEventListener("change", () => { if (view.current >= 0 && view.viewer) drawCrystal(); });
  turn.addEventListener("click", () => {
    const on = turn.getAttribute("aria-pressed") !== "true";
    turn.setAttribute("aria-pressed", String(on));
    if (view.viewer) view.viewer.spin(on ? "y" : false, 0.6);
  });
  file.addEventListener("click", () => save(`${(view.name || "crystal").replace(/[^\w.-]+/g, "_")}.cif`, cif(data.crystals[view.current], view.name)));
  new ResizeObserver(() => { if (view.viewer && box.clientWidth) { view.viewer.resize(); view.viewer.render(); } }).observe(box);
  view.redraw = () => { if (view.viewer && view.current >= 0) drawCrystal(); };
  view.show(-1);
  return view;
}

const row3 = (flat, k) => [flat[3 * k], flat[3 * k + 1], flat[3 * k + 2]];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const dot3 = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];

function volume(cell) {
  return dot3(row3(cell, 0), cross(row3(cell, 1), row3(cell, 2)));
}

// Fractional coordinates of all atoms; null where there is no cell of three dimensions.
function fractions(crystal) {
  const all = volume(crystal.cell);
  if (Math.abs(all) < 1e-6) return null;
  const [a, b, c] = [0, 1, 2].map((k) => row3(crystal.cell, k));
  const inverse = [cross(b, c), cross(c, a), cross(a, b)].map((v) => v.map((x) => x / all));
  return crystal.symbols.map((_, k) => inverse.map((v) => dot3(v, row3(crystal.positions, k))));
}

// Atoms of some cells, those on faces repeated on the opposite ones, with bonds.
function images(crystal, count, radii) {
  const where = fractions(crystal);
  const atoms = [];
  const add = (symbol, x) => atoms.push({ elem: symbol, x: x[0], y: x[1], z: x[2], bonds: [], bondOrder: [], index: atoms.length, serial: atoms.length });
  if (!where) {
    crystal.symbols.forEach((symbol, k) => add(symbol, row3(crystal.positions, k)));
  } else {
    const edge = 0.002;
    const most = crystal.pbc.map((p) => (p ? count : 1));
    crystal.symbols.forEach((symbol, k) => {
      const f = where[k].map((x, n) => (crystal.pbc[n] ? x - Math.floor(x + edge) : x));
      const steps = f.map((x, n) => (crystal.pbc[n] ? most[n] + (x < edge ? 1 : 0) : 1));
      for (let i = 0; i < steps[0]; i += 1) for (let j = 0; j < steps[1]; j += 1) for (let l = 0; l < steps[2]; l += 1) {
        if (atoms.length >= MOST_DRAWN) return;
        const g = [f[0] + i, f[1] + j, f[2] + l];
        add(symbol, [0, 1, 2].map((n) => g[0] * crystal.cell[n] + g[1] * crystal.cell[3 + n] + g[2] * crystal.cell[6 + n]));
      }
    });
  }
  bond(atoms, radii);
  return atoms;
}

function bond(atoms, radii) {
  const widest = 2 * SLACK * Math.max(0.3, ...atoms.map((a) => radii[a.elem] || 1.2));
  const cells = new Map();
  const key = (i, j, k) => `${i},${j},${k}`;
  const at = (a) => [a.x, a.y, a.z].map((x) => Math.floor(x / widest));
  for (const atom of atoms) {
    const name = key(...at(atom));
    if (!cells.has(name)) cells.set(name, []);
    cells.get(name).push(atom);
  }
  for (const atom of atoms) {
    const [i, j, k] = at(atom);
    for (let a = -1; a <= 1; a += 1) for (let b = -1; b <= 1; b += 1) for (let c = -1; c <= 1; c += 1) {
      for (const other of cells.get(key(i + a, j + b, k + c)) || []) {
        if (other.index <= atom.index) continue;
        const d = Math.hypot(atom.x - other.x, atom.y - other.y, atom.z - other.z);
        if (d < SLACK * ((radii[atom.elem] || 1.2) + (radii[other.elem] || 1.2)) && d > 0.3) {
          atom.bonds.push(other.index);
          atom.bondOrder.push(1);
          other.bonds.push(atom.index);
          other.bondOrder.push(1);
        }
      }
    }
  }
}

function edges(crystal, count) {
  if (Math.abs(volume(crystal.cell)) < 1e-6) return [];
  const most = crystal.pbc.map((p) => (p ? count : 1));
  const point = (f) => {
    const x = [0, 1, 2].map((n) => f[0] * crystal.cell[n] + f[1] * crystal.cell[3 + n] + f[2] * crystal.cell[6 + n]);
    return { x: x[0], y: x[1], z: x[2] };
  };
  const out = [];
  for (let axis = 0; axis < 3; axis += 1) {
    const [p, q] = [0, 1, 2].filter((n) => n !== axis);
    for (let i = 0; i <= most[p]; i += 1) for (let j = 0; j <= most[q]; j += 1) {
      const from = [0, 0, 0];
      from[p] = i;
      from[q] = j;
      const to = [...from];
      to[axis] = most[axis];
      out.push([point(from), point(to)]);
    }
  }
  return out;
}

function tally(crystal) {
  const counts = new Map();
  for (const symbol of crystal.symbols) counts.set(symbol, (counts.get(symbol) || 0) + 1);
  return [...counts];
}

function lengths(crystal) {
  const v = [0, 1, 2].map((k) => row3(crystal.cell, k));
  const l = v.map((a) => Math.hypot(...a));
  const angle = (a, b) => (Math.acos(Math.max(-1, Math.min(1, dot3(v[a], v[b]) / (l[a] * l[b])))) * 180) / Math.PI;
  return [...l, angle(1, 2), angle(0, 2), angle(0, 1)];
}

function cellWords(crystal) {
  if (Math.abs(volume(crystal.cell)) < 1e-6) return "no cell";
  const [a, b, c, alpha, beta, gamma] = lengths(crystal);
  const f = (x) => x.toFixed(2);
  const g = (x) => String(Math.round(x * 10) / 10);
  return `cell ${f(a)} × ${f(b)} × ${f(c)} Å, ${g(alpha)}°, ${g(beta)}°, ${g(gamma)}°`;
}

function cif(crystal, name) {
  const where = fractions(crystal);
  if (!where) return "";
  const [a, b, c, alpha, beta, gamma] = lengths(crystal).map((x) => x.toFixed(5));
  const lines = [
    `data_${(name || "crystal").replace(/[^\w.-]+/g, "_")}`, `_cell_length_a ${a}`, `_cell_length_b ${b}`, `_cell_length_c ${c}`,
    `_cell_angle_alpha ${alpha}`, `_cell_angle_beta ${beta}`, `_cell_angle_gamma ${gamma}`, "_symmetry_space_group_name_H-M 'P 1'",
    "loop_", "_atom_site_label", "_atom_site_type_symbol", "_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z",
    ...crystal.symbols.map((s, k) => `${s}${k + 1} ${s} ${where[k].map((x) => x.toFixed(6)).join(" ")}`),
  ];
  return `${lines.join("\n")}\n`;
}

function save(name, text) {
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "text/plain" })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 5000);
}
