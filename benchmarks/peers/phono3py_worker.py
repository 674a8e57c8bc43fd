"""phono3py's conductivities from its own files: run with the pinned version, or the newest inside .venvs/phono3py."""

import time
from importlib.metadata import version

import measure
import phono3py

ROOM = [300.0]


def conductivity(yaml: str, fc3: str, fc2: str, mesh: int, solver: str = "rta") -> dict:
    """CPU seconds from files to the conductivity at 300 K, its mean over x, y, z in W/(m K), phono3py's version."""
    begin = time.process_time()
    ph = phono3py.load(yaml, log_level=0, fc3_filename=fc3, fc2_filename=fc2)
    read = time.process_time()
    ph.mesh_numbers = [mesh] * 3
    ph.init_phph_interaction()
    ph.run_thermal_conductivity(temperatures=ROOM, is_LBTE=solver == "iterative")
    end = time.process_time()
    kappa = float(ph.thermal_conductivity.kappa[0, 0, :3].mean())
    return {"read": read - begin, "rest": end - read, "kappa": kappa, "version": version("phono3py")}


if __name__ == "__main__":
    measure.serve({"conductivity": conductivity})
