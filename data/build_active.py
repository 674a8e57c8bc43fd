"""Pack the labels of active learning: `python data/build_active.py DENSITIES LABELLED...`.

DENSITIES is the folder of `ase-mlx label --densities`, LABELLED are its outputs. Written: active/simplex.extxyz.xz and
active/density_simplex.npz, in the order of `make_configurations.simplex_group4`.
"""

import io
import lzma
import sys
from pathlib import Path

import numpy as np
from ase.io import write
from make_configurations import simplex_group4

from ase_mlx.data.densities import DensityFrame, read_densities, write_densities
from ase_mlx.data.io import read_frames
from ase_mlx.whole import write_bytes

HERE = Path(__file__).resolve().parent / "active"
KEPT = ("config_name", "config_kind", "family", "part", "md_temperature_K", "cpu_s", "minus_TS", "k_grid", "ecut_Ry")


def main(densities: str, *labelled: str) -> None:
    """Build both files and print what is in them."""
    frames = {a.info["config_name"]: a for path in labelled for a in read_frames(path)}
    names = [a.info["config_name"] for a in simplex_group4()]
    lacking = [name for name in names if name not in frames]
    print(f"{len(frames)} labelled; without a label: {', '.join(lacking) or 'none'}")
    HERE.mkdir(exist_ok=True)
    chosen, packed = [frames[name] for name in names if name in frames], []
    for atoms in chosen:
        (one,) = read_densities(Path(densities) / f"{atoms.info['label_key']}.npz")
        atoms.info = {key: atoms.info[key] for key in KEPT if key in atoms.info}
        facts = {key: atoms.info[key] for key in ("family", "part", "md_temperature_K", "cpu_s")}
        packed.append(DensityFrame(one.name, one.atoms, one.density, facts))
    text = io.StringIO()
    write(text, chosen, format="extxyz")
    write_bytes(HERE / "simplex.extxyz.xz", lzma.compress(text.getvalue().encode(), preset=9 | lzma.PRESET_EXTREME))
    write_densities(HERE / "density_simplex.npz", packed)
    seconds = np.sum([a.info["cpu_s"] for a in chosen])
    print(f"{len(chosen)} frames, {seconds / 3600:.2f} core-hours of pw.x")
    for name in ("simplex.extxyz.xz", "density_simplex.npz"):
        print(f"{name}: {(HERE / name).stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(*sys.argv[1:])
