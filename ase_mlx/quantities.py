"""The vocabulary: every physical quantity of the package, once.

A `Quantity` says how often it occurs (per graph, atom, edge or point), the shape and parity of one value, and its unit.
A model declares its `outputs` as such quantities, and hosts, tables and laws go by what it declares: a plug-in extends
the vocabulary by quantities of its own in its outputs. Names here are those of the package's models; `NAME_std` and
`NAME_members` of any output follow from it.

Source: ours; names are those of `ase.outputs` where ASE has one.
"""

from dataclasses import dataclass
from typing import Literal

Per = Literal["graph", "atom", "edge", "point"]


@dataclass(frozen=True)
class Quantity:
    """One physical quantity: `shape` is that of a single value, `parity` its sign under inversion, `unit` may be none.

    Source: ours.
    """

    name: str
    per: Per
    shape: tuple[int, ...]
    parity: int
    unit: str

    def __str__(self) -> str:
        """Print as papers do: name, unit and how often."""
        return f"{self.name} [{self.unit}] per {self.per}"


energy = Quantity("energy", "graph", (), 1, "eV")
energies = Quantity("energies", "atom", (), 1, "eV")
forces = Quantity("forces", "atom", (3,), -1, "eV/Å")
stress = Quantity("stress", "graph", (6,), 1, "eV/Å³")
stresses = Quantity("stresses", "atom", (6,), 1, "eV/Å³")
distance = Quantity("distance", "atom", (), 1, "dimensionless")
density = Quantity("density", "point", (), 1, "e/Å³")
features = Quantity("features", "atom", (-1,), 1, "dimensionless")
formation_energy = Quantity("formation_energy", "graph", (), 1, "eV/atom")
hull_distance = Quantity("hull_distance", "graph", (), 1, "eV/atom")
band_gap = Quantity("band_gap", "graph", (), 1, "eV")
metal_probability = Quantity("metal_probability", "graph", (), 1, "dimensionless")
bulk_modulus = Quantity("bulk_modulus", "graph", (), 1, "GPa")
shear_modulus = Quantity("shear_modulus", "graph", (), 1, "GPa")
tail_margin = Quantity("tail_margin", "graph", (), 1, "eV/atom")
tail_probability = Quantity("tail_probability", "graph", (), 1, "dimensionless")
novelty = Quantity("novelty", "graph", (), 1, "dimensionless")
novelty_probability = Quantity("novelty_probability", "graph", (), 1, "dimensionless")

SCREENED = (formation_energy, hull_distance, tail_margin, tail_probability, novelty, novelty_probability)
"""Of whole crystals, per atom or per crystal: what screening asks for."""

OF_CRYSTALS = (band_gap, metal_probability, bulk_modulus, shear_modulus)

ALL: dict[str, Quantity] = {
    q.name: q
    for q in (energy, energies, forces, stress, stresses, density, distance, features, *SCREENED, *OF_CRYSTALS)
}

SYMBOLS: tuple[str, ...] = (
    "X",
    *"""
    H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb
    Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au
    Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts
    Og
    """.split(),
)
"""Chemical symbols by atomic number; X is none."""
