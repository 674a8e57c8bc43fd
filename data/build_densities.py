"""Pack the DFT densities of this repository: `python data/build_densities.py BASE [RUNS FRAMES]...`.

BASE is the folder of the base set (density/FAMILY/NAME.npz), RUNS one of finished `pw.x` runs (NAME/out and
NAME/pwscf.save) of the structures in the file FRAMES. Written here: density_sigesn.npz and density_al.npz; parts are
those of build.py and, for large cells, those below.
"""

import re
import sys
from pathlib import Path

import numpy as np
from ase import Atoms
from build import BASE_TEST, BASE_VAL, composition
from make_configurations import VALIDATION_ALONE

from ase_mlx.data.densities import DensityFrame, read_densities, write_densities
from ase_mlx.data.espresso_density import on_grid, read_charge_density
from ase_mlx.data.io import read_frames

HERE = Path(__file__).resolve().parent
FAMILIES = {
    "sigesn": ("si8", "sgs8", "si64k2", "sige64k2", "sgs64k2"),
    "al": ("al4", "al32", "al31", "al108"),
}
LARGE = {
    "train": ("si64_k2_0", "si64_k2_4", "si64_k2vac_1", "si64_k2vac_3", "sige64_k2_0")
    + ("al32_md_0", "al32_md_2", "al32_md_8", "al31_0", "al108_md_0"),
    "val": ("si64_k2_3", "si64_k2vac_2", "sgs64_k2_0", "al32_new_0"),
    "test": ("si64_k2_1", "si64_k2_2", "si64_k2vac_new0", "si64_k2vac_new1", "sige64_k2_1", "sige64_k2_2")
    + ("al32_md_1", "al32_md_9", "al32_md_10", "al31_1", "al108_md_1"),
}
"""Parts of the cells of more than eight atoms."""
PART = {name: part for part, names in LARGE.items() for name in names}


def base(folder: Path, family: str):
    """Read the base set's densities of one family."""
    files = [path for path in (folder / f"{family}.extxyz", folder / f"{family}_eos.extxyz") if path.is_file()]
    seconds = {a.info["config_name"]: float(a.info["cpu_s"]) for path in files for a in read_frames(path)}
    for path in sorted((folder / "density" / family).glob("*.npz"), key=lambda p: _natural(p.stem)):
        a = np.load(path)
        name = path.stem
        part = "test" if name in BASE_TEST else "val" if name in BASE_VAL else "train"
        atoms = Atoms(a["numbers"], a["positions"], cell=a["cell"], pbc=True)
        part = "val" if composition(atoms) in VALIDATION_ALONE else part
        part = PART.get(name, part)
        yield DensityFrame(name, atoms, a["density"], {"family": family, "part": part, "cpu_s": seconds[name]})


def _natural(name: str) -> tuple[str, int]:
    stem, number = name.rsplit("_", 1)
    return stem, int(number)


def run(folder: Path, frames: Path, kinds: tuple[str, ...]):
    """Read the densities of finished `pw.x` runs of some frames: those of families that are asked for."""
    for atoms in read_frames(frames):
        name, family = atoms.info["config_name"], atoms.info["family"]
        if family not in kinds or not (folder / name / "done").is_file():
            continue
        output = (folder / name / "out").read_text(encoding="utf-8")
        shape = tuple(int(n) for n in re.search(r"FFT dimensions:\s*\(\s*(\d+),\s*(\d+),\s*(\d+)\)", output).groups())
        density = on_grid(*read_charge_density(folder / name / "pwscf.save" / "charge-density.dat"), shape)
        plain = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
        family = "si63k2" if name.startswith("si64_k2vac") else family
        info = {"family": family, "part": PART.get(name, atoms.info["part"]), "cpu_s": cpu_seconds(output)}
        if "startingpot" in (folder / name / "in").read_text(encoding="utf-8"):
            info["start"] = "predicted density"
        yield DensityFrame(name, plain, density, info)


def cpu_seconds(output: str) -> float:
    """CPU time of a finished `pw.x` run, s."""
    text = re.search(r"PWSCF\s*:\s*(.*?)s CPU", output).group(1)
    hours, minutes, seconds = re.fullmatch(r"(?:(\d+)h\s*)?(?:(\d+)m\s*)?([\d.]+)", text).groups("0")
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


def main(base_folder: str, *runs: str) -> None:
    """Build both files and print their sizes and errors."""
    for kind, families in FAMILIES.items():
        frames = [frame for family in families for frame in base(Path(base_folder), family)]
        for folder, path in zip(runs[::2], runs[1::2], strict=True):
            frames += run(Path(folder), Path(path), families)
        path = HERE / f"density_{kind}.npz"
        write_densities(path, frames)
        worst = max(
            float(np.abs(new.density - old.density).sum() / old.density.sum())
            for new, old in zip(read_densities(path), frames, strict=True)
        )
        print(f"{path.name}: {len(frames)} frames, {path.stat().st_size / 1e6:.1f} MB, at most {100 * worst:.4f} % off")


if __name__ == "__main__":
    main(*sys.argv[1:])
