"""An ensemble with known answers: member m has the energy λ·E(s·x) of ASE's EMT."""

import numpy as np
from ase.calculators.emt import EMT


class EnsembleEMT(EMT):
    """EMT whose members have energies λ·E(s·x): lattice constant a/s, bulk modulus λ·s³·B, frequency √λ·ω."""

    def __init__(self, strengths=(1.0,), scales=None):
        super().__init__()
        self.strengths = np.asarray(strengths, dtype=float)
        self.scales = np.ones_like(self.strengths) if scales is None else np.asarray(scales, dtype=float)
        self.member_calls = 0

    def get_property(self, name, atoms=None, allow_calculation=True):
        if name in ("energy_members", "forces_members", "stress_members", "energy_std", "forces_std"):
            members = self._members(name.split("_")[0], atoms)
            return members if name.endswith("members") else members.std(axis=0, ddof=1)
        if name == "distance":
            return np.full(len(atoms), 0.5)
        return super().get_property(name, atoms, allow_calculation)

    def _members(self, name, atoms):
        self.member_calls += 1
        values = []
        for strength, scale in zip(self.strengths, self.scales, strict=True):
            copy = atoms.copy()
            copy.set_constraint()
            copy.set_cell(atoms.cell * scale, scale_atoms=False)
            copy.positions *= scale
            copy.calc = EMT()
            factor = strength * {"energy": 1, "forces": scale, "stress": scale**3}[name]
            value = copy.get_potential_energy() if name == "energy" else copy.calc.get_property(name, copy)
            values.append(factor * value)
        return np.array(values)
