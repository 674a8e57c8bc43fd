"""Files of densities as one of ASE's formats: their structures.

Source: ASE 3.29's external formats.
"""

from ase import Atoms
from ase.utils.plugins import ExternalIOFormat

FORMAT = ExternalIOFormat("ase_mlx's files of densities", "+S", __name__)
"""What `ase info --formats` lists; loaded while `ase.io` is, which therefore is not imported here."""


def read_ase_mlx_densities(filename, index=-1) -> list[Atoms] | Atoms:
    """Read the structures (Å) of a file of densities, as `ase.io.read(..., format="ase-mlx-densities")` does.

    `info` holds the name, what the file says of it, the electrons and the grid's shape; the density itself (e/Å³) is
    given by `ase_mlx.data.densities.read_densities`.

    Raises:
        ValueError: a damaged file.

    Source: ours.
    """
    from ase_mlx.data.densities import read_densities

    frames = []
    for frame in read_densities(filename):
        atoms = frame.atoms
        atoms.info = {"config_name": frame.name, **frame.info}
        atoms.info |= {"electrons": frame.electrons, "shape": list(frame.density.shape)}
        frames.append(atoms)
    return frames[index]
