"""PySCF's half of benchmarks/density_charges.py: densities of molecules on a grid, free atoms, exact basins.

The electrons of each basin come from paths of steepest ascent along the analytic gradient, from the points of an atomic
quadrature: no grid of ours, none of our code. Positions in Å, densities in e/Å³.
"""

import json
import sys

import numpy as np
from pyscf import dft, gto, scf

BOHR = 0.529177210903
STEP = 0.03
"""bohr; of the paths."""
REACHED = {1: 0.25, 6: 0.35, 8: 0.35}
"""bohr; a path this near to a nucleus has arrived."""


def solve(atoms: list, basis: str, method: str, spin: int = 0):
    molecule = gto.M(atom=atoms, basis=basis, spin=spin, verbose=0)
    unrestricted = spin != 0
    if method == "hf":
        field = (scf.UHF if unrestricted else scf.RHF)(molecule)
    else:
        field = (dft.UKS if unrestricted else dft.RKS)(molecule, xc=method)
    field.kernel()
    matrix = field.make_rdm1()
    return molecule, matrix.sum(0) if unrestricted else matrix


def density(molecule, matrix, points: np.ndarray) -> np.ndarray:
    """e/Å³ at points in Å."""
    parts = [
        dft.numint.eval_rho(molecule, dft.numint.eval_ao(molecule, block / BOHR), matrix)
        for block in np.array_split(points, max(1, len(points) // 20000))
    ]
    return np.concatenate(parts) / BOHR**3


def free_atom(symbol: str, basis: str, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Spherical average, on radii in Å."""
    molecule, matrix = solve([(symbol, (0, 0, 0))], basis, method, spin={"H": 1, "C": 2, "O": 2}[symbol])
    radius = np.concatenate([np.arange(0, 2, 0.002), np.arange(2, 7, 0.01)])
    directions = dft.gen_grid.MakeAngularGrid(50)
    points = (radius[:, None, None] * directions[None, :, :3]).reshape(-1, 3)
    values = density(molecule, matrix, points).reshape(len(radius), -1)
    return radius, values @ directions[:, 3]


def basins(molecule, matrix) -> np.ndarray:
    """Electrons of each atom's basin."""
    grids = dft.gen_grid.Grids(molecule)
    grids.level = 3
    grids.build()

    def gradient(x):
        ao = dft.numint.eval_ao(molecule, x, deriv=1)
        rho = dft.numint.eval_rho(molecule, ao, matrix, xctype="GGA")
        return rho[0], rho[1:4].T / (np.linalg.norm(rho[1:4], axis=0)[:, None] + 1e-30)

    charge = gradient(grids.coords)[0] * grids.weights
    kept = np.abs(charge) > 1e-10
    x, charge = grids.coords[kept].copy(), charge[kept]
    nuclei = molecule.atom_coords()
    reach = np.array([REACHED[int(z)] for z in molecule.atom_charges()])
    owner, moving = np.full(len(x), -1), np.arange(len(x))
    for _ in range(5000):
        inside = np.linalg.norm(x[moving, None] - nuclei, axis=-1) < reach
        there = inside.any(1)
        owner[moving[there]] = inside[there].argmax(1)
        moving = moving[~there]
        if not len(moving):
            break
        half = x[moving] + 0.5 * STEP * gradient(x[moving])[1]
        x[moving] += STEP * gradient(half)[1]
    return np.array([charge[owner == k].sum() for k in range(molecule.natm)])


def main(question: str, answer: str) -> None:
    with open(question, encoding="utf-8") as stream:
        asked = json.load(stream)
    atoms = [(symbol, tuple(position)) for symbol, position in asked["atoms"]]
    molecule, matrix = solve(atoms, asked["basis"], asked["method"])
    cell, shape = np.array(asked["cell"]), asked["shape"]
    steps = np.stack(np.meshgrid(*[np.arange(n) / n for n in shape], indexing="ij"), -1).reshape(-1, 3)
    found = {"density": density(molecule, matrix, steps * cell).reshape(shape)}
    for symbol in sorted({s for s, _ in atoms}):
        found[f"radius {symbol}"], found[f"free {symbol}"] = free_atom(symbol, asked["basis"], asked["method"])
    if asked["basins"]:
        found["basins"] = basins(molecule, matrix)
    np.savez(asked["out"], **found)
    with open(answer, "w", encoding="utf-8") as stream:
        json.dump({"electrons": int(molecule.nelectron)}, stream)


if __name__ == "__main__":
    main(*sys.argv[1:])
