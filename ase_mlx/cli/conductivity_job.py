"""What `ase-mlx conductivity` writes: phono3py's hdf5, a table, the tensor and figures.

Source: ours.
"""

import csv
from pathlib import Path

from ase_mlx.whole import whole_file

FILES = ("kappa.hdf5", "kappa.csv", "conductivity.png", "tensor.safetensors", "quartic.safetensors")
"""What `write_results` may write."""

BYTES = 16_000_000
"""That they may take on the disk, with the finished supercells."""

COMPONENTS = ("xx", "yy", "zz", "yz", "xz", "xy")


def write_results(found, name: str, folder: Path) -> dict:
    """Write a `Conductivity` (W/(m K), K) into a folder and give what is printed and saved as JSON.

    Raises:
        OSError: the folder cannot be written.

    Source: ours.
    """
    from ase_mlx.adapters.phono3py import write_kappa
    from ase_mlx.cli.conductivity_figures import draw_conductivity
    from ase_mlx.phonons.tensor_files import save_tensor

    mesh = " × ".join(str(n) for n in found.modes.mesh.numbers)
    write_kappa(found.modes, found.phono3py, folder / "kappa.hdf5")
    rows = [
        {"T (K)": float(t), **{c: float(x) for c, x in zip(COMPONENTS, _clean(kappa), strict=True)}}
        for t, kappa in zip(found.temperatures, found.kappa, strict=True)
    ]
    if found.kappa_std is not None:
        for row, std in zip(rows, found.kappa_std, strict=True):
            row["std"] = float(std[:3].mean())
    with whole_file(folder / "kappa.csv") as part, part.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        bars = [] if found.kappa_std is None else ["std_W/(m K)"]
        table.writerow(["temperature_K", *(f"kappa_{c}_W/(m K)" for c in COMPONENTS), *bars])
        table.writerows([[f"{x:.8g}" for x in row.values()] for row in rows])
    files, notes = ["kappa.hdf5", "kappa.csv", "conductivity.png"], list(found.notes)
    if sources := getattr(found.phono3py, "sources", ()):
        notes.append(f"Taken from the file: {'; '.join(sources)}.")
    certificate = None
    if found.compression is not None:
        made, (full, compact) = found.compression, found.compression.ratios
        save_tensor(made.tensor, folder / "tensor.safetensors", {"source": name, "held_out_error": made.held_out})
        files.append("tensor.safetensors")
        notes.insert(
            0, f"Rank {made.tensor.rank}, {full:.0f} times smaller than the tensor ({compact:.0f} times than the "
            f"translation-reduced one), fitted in {made.seconds:.0f} s; held-out error {100 * made.held_out:.1f} %.",
        )  # fmt: skip
        if found.certificate is not None:
            notes.insert(1, f"Certificate: {found.certificate}.")
            certificate = {name: getattr(found.certificate, name) for name in ("kappa", "linewidth", "exact")}
    more = found.coherence[found.modes.middle, :3].mean()
    room = found.temperatures[found.modes.middle]
    notes.append(f"Coherences between modes (Wigner) would add {more:.2g} W/(m K) at {room:g} K.")
    if found.quartic is not None:
        made, modes = found.quartic, found.modes
        save_tensor(made.tensor, folder / "quartic.safetensors", {"source": name, "held_out_error": made.held_out})
        files.append("quartic.safetensors")
        less = 1 - modes.kappa[modes.middle, :3].mean() / modes.three_phonon_kappa[modes.middle, :3].mean()
        notes.append(
            f"Four-phonon scattering takes {100 * less:.1f} % off kappa({modes.temperatures[modes.middle]:g} K); "
            f"fourth order: rank {made.tensor.rank}, {made.ratios[0]:.2g} times smaller than the tensor, held-out "
            f"forces off by {100 * made.held_out:.0f} %."
        )
    draw_conductivity(found, f"{name}: {found.phono3py.primitive.reduced_formula}, {mesh}", folder / "conductivity.png")
    return {"mesh": mesh, "rows": rows, "certificate": certificate, "notes": notes, "files": files}


def _clean(kappa):
    """Zero where symmetry asks for it and rounding left something."""
    import numpy as np

    return np.where(np.abs(kappa) < 1e-10 * np.abs(kappa).max(), 0.0, kappa)
