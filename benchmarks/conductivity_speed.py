"""Lattice conductivities without compression beside phono3py: seconds, and by how much they differ.

    taskset -c 1 python benchmarks/conductivity_speed.py [--quick] [--materials Si ...] [--meshes 9 15] [--json FILE]

Relaxation times at 300 K, phono3py's examples of Si, NaCl, MgO and ZnTe (64 atoms in the supercell, two in the
primitive cell; the last three with Born charges). Both sides start from the same fc3.hdf5 and fc2.hdf5 beside a
phono3py.yaml and are done with the conductivity: "read" is `load_third_order` and `phono3py.load`, "rest" all that
follows. CPU seconds of all threads, in one process and in turn, compiled code cached; medians of three, phono3py's of
one run above 11³. "mesh" is what `relaxation_times` alone takes of ours. phono3py's results are kept in
benchmarks/work by force constants, mesh and version. Exit code 1 where a figure is missed.
"""

import argparse
import json
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path

import phono3py
from phono3py.file_IO import write_fc2_to_hdf5, write_fc3_to_hdf5
from verdict import machine, print_machine, verdict

from ase_mlx.adapters.phono3py import conductivity, load_third_order
from ase_mlx.adapters.phono3py.crystal import crystal_of
from ase_mlx.keep import Entries, digest
from ase_mlx.phonons.transport import relaxation_times

DATA = Path(__file__).resolve().parents[1] / "tests" / "reference" / "data"
WORK = Path(__file__).resolve().parent / "work" / "conductivity_speed"
POLAR = {"Si": False, "NaCl": True, "MgO": True, "ZnTe": True}
FINEST = {"Si": 19}
"""Where it is not 21."""
ROOM = [300.0]
LARGE = 13
"""Mesh from which phono3py runs once."""


def prepared(name: str) -> Path:
    """phono3py.yaml of a material with fc3.hdf5 and fc2.hdf5 beside it, made once."""
    folder = WORK / name
    if not (folder / "fc2.hdf5").exists():
        folder.mkdir(parents=True, exist_ok=True)
        ph = load_third_order(DATA / f"phono3py-{name.lower()}" / "phono3py_params.yaml.xz")
        ph.save(folder / "phono3py.yaml", settings={"force_sets": False, "displacements": False})
        write_fc3_to_hdf5(ph.fc3, filename=str(folder / "fc3.hdf5"), p2s_map=ph.primitive.p2s_map)
        map_of_phonons = ph.phonon_primitive.p2s_map
        write_fc2_to_hdf5(ph.fc2, filename=str(folder / "fc2.hdf5"), p2s_map=map_of_phonons)
    return folder / "phono3py.yaml"


def theirs(path: Path, mesh: int) -> dict:
    """CPU seconds of phono3py from file to conductivity, and κ in W/(m K)."""
    begin = time.process_time()
    files = {f"{name}_filename": str(path.with_name(f"{name}.hdf5")) for name in ("fc3", "fc2")}
    ph = phono3py.load(path, log_level=0, **files)
    read = time.process_time()
    ph.mesh_numbers = [mesh] * 3
    ph.init_phph_interaction()
    ph.run_thermal_conductivity(temperatures=ROOM)
    kappa = float(ph.thermal_conductivity.kappa[0, 0, :3].mean())
    return {"read": read - begin, "rest": time.process_time() - read, "kappa": kappa}


def ours(path: Path, mesh: int) -> dict:
    """The same of ours; `mesh` is the time of relaxation times alone."""
    begin = time.process_time()
    ph = load_third_order(path)
    read = time.process_time()
    kappa = float(conductivity(ph, mesh=(mesh,) * 3, temperatures=ROOM).kappa[0, :3].mean())
    end = time.process_time()
    crystal = crystal_of(ph)
    start = time.process_time()
    relaxation_times(crystal, (mesh,) * 3, ROOM)
    return {"read": read - begin, "rest": end - read, "kappa": kappa, "mesh": time.process_time() - start}


def median(runs: list[dict]) -> dict:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def compare(name: str, mesh: int, repeats: int) -> dict:
    """Both sides in turn; phono3py's where it is not kept."""
    path, kept = prepared(name), Entries(WORK)
    contents = [path.with_name(f"{part}.hdf5").read_bytes() for part in ("fc3", "fc2")]
    key = digest(*contents, path.read_bytes(), mesh, version("phono3py"), machine()["cpu"])
    before = kept.fetch(f"phono3py-{name}-{mesh}", key)
    peer, own = [], []
    for k in range(repeats):
        if before is None and (k == 0 or mesh < LARGE):
            peer.append(theirs(path, mesh))
        own.append(ours(path, mesh))
    if before is None:
        before = median(peer)
        kept.keep(f"phono3py-{name}-{mesh}", key, before)
    return {"material": name, "mesh": mesh, "phono3py": {k: float(v) for k, v in before.items()}, "ours": median(own)}


def show(row: dict) -> None:
    peer, own = row["phono3py"], row["ours"]
    whole = [side["read"] + side["rest"] for side in (peer, own)]
    numbers = f"{peer['read']:9.2f}{peer['rest']:9.2f}{own['read']:9.2f}{own['rest']:8.2f}{own['mesh']:8.2f}"
    ratios = f"{whole[0] / whole[1]:9.1f}{peer['rest'] / own['rest']:7.1f}"
    off = 100 * (own["kappa"] / peer["kappa"] - 1)
    print(f"{row['material']:6}{row['mesh']:3d}³{numbers}{ratios}{peer['kappa']:11.3f}{off:+11.4f}", flush=True)


def figures(row: dict) -> list[tuple]:
    peer, own, mesh, name = row["phono3py"], row["ours"], row["mesh"], f"{row['material']} {row['mesh']}³"
    goal = 1.0 if mesh < 15 else 12.0 if POLAR[row["material"]] else 5.0 if mesh < 19 else 7.0
    ratio = (peer["read"] + peer["rest"]) / (own["read"] + own["rest"])
    off = 100 * abs(own["kappa"] / peer["kappa"] - 1)
    return [(f"{name}: times faster, whole", ratio, "≥", goal), (f"{name}: kappa off by, %", off, "≤", 0.1)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="9³ alone, one run of each")
    parser.add_argument("--materials", nargs="+", choices=list(POLAR), default=list(POLAR))
    parser.add_argument("--meshes", nargs="+", type=int, help="9, 15 and 21 (silicon: 19) if not given")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    about = machine() | {"phono3py": version("phono3py")}
    print_machine(about)
    ours(prepared("Si"), 5)  # compiles
    print(f"{'':10}{'phono3py, s CPU':>18}{'ours, s CPU':>25}{'times faster':>16}{'kappa,':>11}{'ours off':>11}")
    print(
        f"{'':10}{'read':>9}{'rest':>9}{'read':>9}{'rest':>8}{'mesh':>8}{'whole':>9}{'rest':>7}{'W/(m K)':>11}{'%':>11}"
    )
    rows, lines = [], []
    for name in options.materials:
        for mesh in options.meshes or ([9] if options.quick else [9, 15, FINEST.get(name, 21)]):
            rows.append(compare(name, mesh, 1 if options.quick else 3))
            show(rows[-1])
            lines += figures(rows[-1])
    reached = verdict(lines)
    if options.json:
        options.json.write_text(json.dumps({"machine": about, "rows": rows, "reached": reached}, indent=1))
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
