"""Writes ase_mlx/descriptors/elements.csv from matminer's Magpie tables and pymatgen's periodic table.

Run where the extra `matminer` is installed: `python scripts/element_table.py`.
"""

import csv
import json
from pathlib import Path

import pymatgen.analysis.diffraction.xrd as xrd
from matminer.utils.data import MagpieData
from pymatgen.core import Element

MAGPIE = (
    "Number MendeleevNumber AtomicWeight MeltingT Column Row CovalentRadius Electronegativity NsValence NpValence "
    "NdValence NfValence NValence NsUnfilled NpUnfilled NdUnfilled NfUnfilled NUnfilled GSvolume_pa GSbandgap GSmagmom "
    "SpaceGroupNumber FirstIonizationEnergy Polarizability phi n_ws^third"
).split()
LAST = 94
OUT = Path(__file__).resolve().parents[1] / "ase_mlx" / "descriptors" / "elements.csv"


def main() -> None:
    """Writes one line an element; an empty cell where the sources know nothing."""
    magpie = MagpieData(impute_nan=False)
    scattering = json.loads((Path(xrd.__file__).parent / "atomic_scattering_params.json").read_text())
    lines = []
    for z in range(1, LAST + 1):
        element = Element.from_Z(z)
        line = {"symbol": element.symbol}
        for name in MAGPIE:
            value = magpie.get_elemental_property(element, name)
            line[name] = "" if value is None or value != value else f"{value:.10g}"
        line["oxidation_states"] = " ".join(str(int(q)) for q in element.common_oxidation_states)
        pairs = scattering.get(element.symbol, [])
        line["scattering"] = " ".join(f"{x:.10g}" for pair in pairs for x in pair)
        lines.append(line)
    with OUT.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


if __name__ == "__main__":
    main()
