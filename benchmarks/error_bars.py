"""What do error bars cost, and are those of a few directions the ones of all members?

    python benchmarks/error_bars.py [--quick]

For `sigesn` and `al`: coverage of forces and stress on labelled test frames by kind of frame, with bars from the
model's directions and with those of all its members; the correlation of their logarithms; and CPU seconds of both in
units of energy and forces, for crystals of 64, 512 and 4,096 atoms (one thread; the least of several calls, distance
score included). Then conductivities of silicon as README's snippet, the default mesh and example 05 ask for them, with
bars and without: CPU seconds, and what share the bars take. `calibration.py` runs the first two tables too.
"""

import argparse
import sys
import time

import numpy as np
import torch
from ase.build import bulk
from verdict import machine, print_machine, verdict

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.phonopy import conductivity
from ase_mlx.data.io import read_frames
from ase_mlx.data.samples import batches, name_of, sample
from ase_mlx.graph import from_atoms
from ase_mlx.learn.cards import read_card
from ase_mlx.models.error_bars import widened
from ase_mlx.pretrained import find, load

ENOUGH = 500
"""Components: fewer say nothing about a difference of three points."""

LIMITS = {"correlation": 0.97, "coverage": 3.0, "cost": 3.2, "share": 25.0}
CALLS = {
    "README's snippet": {"mesh": (11, 11, 11), "temperatures": [300]},
    "default mesh": {"temperatures": [300]},
    "example 05": {"mesh": (7, 7, 7), "temperatures": [300, 600], "solver": "iterative", "order": 4, "isotopes": True},
}


def kind_of(atoms, trained: set[str]) -> str:
    """What a test frame is, by its composition and how it came about."""
    formula, name = atoms.get_chemical_formula(empirical=True), atoms.info["config_name"]
    if len(set(atoms.symbols)) > 1:
        return f"alloys of {'trained' if formula in trained else 'other'} compositions"
    return f"{formula}, {'hot or moved' if 'md' in name or 'rattle' in name else 'others'}"


def bars(model, frames: list, scales: dict) -> dict[str, np.ndarray]:
    """Errors, bars from directions and bars of all members of forces (eV/Å) and stress (eV/Å³): (3, components)."""
    rows = {"forces": [], "stress": []}
    for joined in batches([sample(a, model.cutoff, name_of(a, k)) for k, a in enumerate(frames)], 16):
        p = model.with_members(joined.graph)
        for name, parts in rows.items():
            weight = joined.weight[name] > 0
            keep = weight[joined.graph.atom_graph] if name == "forces" else weight
            scale, floor = (scales[name]["all_members"][key] for key in ("scale", "floor"))
            members = torch.sqrt(scale**2 * p.members[name].var(0) + floor**2)
            members = widened(model, name, joined.graph, members, p["distance"])
            columns = ((p[name] - joined.targets[name]).abs(), p.std[name], members)
            parts.append(torch.stack([column[keep].flatten() for column in columns]).numpy())
    return {name: np.concatenate(parts, axis=1) for name, parts in rows.items()}


def cpu_seconds(work, graph, repeats: int) -> float:
    """Least CPU time of several calls."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        work(graph)
        seconds.append(time.process_time() - start)
    return min(seconds)


def agreement(name: str) -> list[tuple]:
    """Print coverage by kind of frame with both bars, and their agreement; return figures to reach."""
    model, scales = load(name), read_card(find(name))["calibration"]
    frames = read_frames(f"{find(name).parents[2]}/data/{name}.extxyz.xz")
    trained = {a.get_chemical_formula(empirical=True) for a in frames if a.info["part"] == "train"}
    kinds: dict[str, list] = {}
    for atoms in frames:
        if atoms.info["part"] == "test":
            kinds.setdefault(kind_of(atoms, trained), []).append(atoms)
    columns_by_kind = {kind: bars(model, some, scales) for kind, some in kinds.items()}
    tails = {n: scales[n]["tail"] for n in ("forces", "stress")}
    print(f"\n{name}: {len(model.directions)} directions beside all {len(model.deviations)} members, test frames")
    print(f"{'':44}{'rows':>6}{'inside 68 %':>17}{'inside 95 %':>17}")
    lines = []
    for quantity in ("forces", "stress"):
        for kind, columns in columns_by_kind.items():
            error, few, every = columns[quantity]
            inside = [[100 * np.mean(error <= t * bar) for bar in (few, every)] for t in (1, tails[quantity])]
            cells = "".join(f"{a:8.1f} |{b:6.1f} %" for a, b in inside)
            print(f"{quantity:8}{kind:36}{len(error):6}{cells}")
            if len(error) >= ENOUGH:
                lines += [
                    (f"{name}, {quantity}, {kind}, {level} %: points apart", abs(a - b), "≤", LIMITS["coverage"])
                    for level, (a, b) in zip((68, 95), inside, strict=True)
                ]
        few, every = np.concatenate([columns[quantity] for columns in columns_by_kind.values()], axis=1)[1:]
        above = every > 1.01 * every.min()
        correlation = np.corrcoef(np.log(few[above]), np.log(every[above]))[0, 1]
        low, high = np.quantile(few / every, (0.05, 0.95))
        print(f"{quantity:8}log σ: correlation {correlation:.3f}, ratio {low:.2f} to {high:.2f} (5 to 95 %)")
        lines.append((f"{name}, {quantity}: correlation of log σ", correlation, "≥", LIMITS["correlation"]))
    return lines


def costs(name: str, copies: tuple[int, ...]) -> list[tuple]:
    """Print CPU seconds of both bars beside those of energy and forces; return figures to reach."""
    model = load(name)
    lines = []
    print(f"\n{name}: CPU seconds in units of energy and forces, one thread")
    print(f"{'':12}{'energy, forces':>16}{'with bars':>12}{'all members':>14}")
    for n in copies:
        symbol, a = ("Si", 5.47) if name == "sigesn" else ("Al", 4.045)
        atoms = bulk(symbol, a=a, cubic=True)
        atoms = atoms.repeat((n, n, n) if len(atoms) == 8 else (2 * n, n, n))
        atoms.rattle(0.05, seed=0)
        graph = from_atoms(atoms, model.cutoff)
        repeats = 7 if len(atoms) < 1000 else 3
        model.with_std(graph)
        works = (model, model.with_std, model.with_members)
        plain, few, every = (cpu_seconds(work, graph, repeats) for work in works)
        print(f"{len(atoms):6} atoms{1e3 * plain:13.0f} ms{few / plain:11.2f}×{every / plain:13.2f}×")
        lines.append((f"{name}, {len(atoms)} atoms: cost of energy, forces and bars", few / plain, "≤", LIMITS["cost"]))
    return lines


def shares(quick: bool) -> list[tuple]:
    """Print CPU seconds of conductivities with bars and without; return figures to reach."""
    conductivity(bulk("Si"), Calculator("sigesn", dtype="float64"), (3, 3, 3), [300.0])  # compiles
    lines = []
    print(f"\n{'conductivity, sigesn':24}{'without bars, s':>16}{'with bars, s':>14}{'their share':>13}{'kappa':>9}")
    for name, options in list(CALLS.items())[: 1 if quick else None]:
        seconds = []
        for bars_too in (False, True):
            calculator, begin = Calculator("sigesn", dtype="float64"), time.process_time()
            result = conductivity(bulk("Si"), calculator, error_bars=bars_too, **options)
            seconds.append(time.process_time() - begin)
        share = 100 * (1 - seconds[0] / seconds[1])
        kappa = f"{result.kappa[0, 0]:9.1f} ± {result.kappa_std[0, 0]:.1f} W/(m K)"
        print(f"{name:24}{seconds[0]:16.1f}{seconds[1]:14.1f}{share:11.0f} %{kappa}", flush=True)
        lines.append((f"{name}: share of the bars, %", share, "≤", LIMITS["share"]))
    return lines


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="no crystal of 4,096 atoms")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print_machine(machine())
    names, copies = ("sigesn", "al"), (2, 4) if options.quick else (2, 4, 8)
    lines = [line for name in names for line in agreement(name)]
    lines += [line for name in names for line in costs(name, copies)]
    lines += shares(options.quick)
    return 0 if verdict(lines) else 1


if __name__ == "__main__":
    sys.exit(main())
