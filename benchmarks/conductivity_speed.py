"""Lattice conductivities beside phono3py: seconds, and by how much they differ.

    taskset -c 1 python benchmarks/conductivity_speed.py [--tables exact iterative ...] [--materials Si ...]
        [--meshes 9 15] [--quick] [--json FILE]

At 300 K, phono3py's examples of Si, NaCl, MgO and ZnTe (64 atoms in the supercell, two in the primitive cell; the last
three with Born charges), and what no one tuned on: Si in 216 atoms by `sigesn`, CdTe, TiNiSn (three atoms) and Cu3VS4
(eight atoms) by CHGNet (benchmarks/force_constants). Both sides start from the same fc3.hdf5 and fc2.hdf5 beside a
phono3py.yaml and are done with the conductivity: "read" is `load_third_order` and `phono3py.load`, "rest" all that
follows. CPU seconds of all threads, one side after the other, compiled code cached; medians of three, phono3py's of one
run above 11³, each in a process of its own.

Tables: exact (relaxation times), newest (the newest phono3py, 15³), iterative (the linearised Boltzmann equation; all
eigenvalues there, ours by steps), tensors (from a file of a compressed tensor, corrected by its certificate, and with
the fit), learned (from a crystal and a potential: pairs of displacements, or a tensor learned from 360 supercells) and
threads (wall seconds of the mesh, one and two threads: leave out taskset). phono3py's results are kept in
benchmarks/peers/phono3py.json by force constants, mesh, version and processor. Exit code 1 where a figure is missed.
"""

import argparse
import json
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path

import torch
from ase.build import bulk
from peers.driver import ask
from phono3py.file_IO import write_fc2_to_hdf5, write_fc3_to_hdf5
from verdict import machine, print_machine, verdict

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.phono3py import conductivity, load_third_order
from ase_mlx.adapters.phono3py.crystal import crystal_of
from ase_mlx.keep import digest
from ase_mlx.phonons.compression import compress
from ase_mlx.phonons.tensor_files import save_tensor
from ase_mlx.phonons.transport import relaxation_times
from ase_mlx.whole import write_text

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "tests" / "reference" / "data"
WORK, KEPT = HERE / "work" / "conductivity_speed", HERE / "peers" / "phono3py.json"
POLAR = {"Si": False, "NaCl": True, "MgO": True, "ZnTe": True}
"""Materials whose figures are judged, and whether they have Born charges."""
OTHERS = ("Si216", "CdTe", "TiNiSn", "Cu3VS4")
FINEST = {"Si": 19, "Cu3VS4": 11}
"""Where it is not 21: silicon's 19, and 24 bands take phono3py an hour beyond 11."""
SOFT = {"CdTe": 0.1}
"""THz below zero that interpolation from 64 atoms makes beside Γ: such modes carry nothing on both sides."""
CRYSTALS = {"Si": ("diamond", 5.43), "NaCl": ("rocksalt", 5.64), "MgO": ("rocksalt", 4.21), "ZnTe": ("zincblende", 6.1)}
"""With experimental lattice constants, Å, to start from."""
ROOM = [300.0]
LARGE = 13
"""Mesh from which phono3py runs once."""
TABLES = ("exact", "newest", "iterative", "tensors", "learned", "threads")


def prepared(name: str) -> Path:
    """phono3py.yaml of a material with fc3.hdf5 and fc2.hdf5 beside it, made once."""
    folder = WORK / name
    if not (folder / "fc2.hdf5").exists():
        folder.mkdir(parents=True, exist_ok=True)
        example = EXAMPLES / f"phono3py-{name.lower()}" / "phono3py_params.yaml.xz"
        ph = load_third_order(example if example.exists() else HERE / "force_constants" / f"{name}.yaml.xz")
        ph.save(folder / "phono3py.yaml", settings={"force_sets": False, "displacements": False})
        write_fc3_to_hdf5(ph.fc3, filename=str(folder / "fc3.hdf5"), p2s_map=ph.primitive.p2s_map)
        map_of_phonons = ph.phonon_primitive.p2s_map
        write_fc2_to_hdf5(ph.fc2, filename=str(folder / "fc2.hdf5"), p2s_map=map_of_phonons)
    return folder / "phono3py.yaml"


def theirs(name: str, mesh: int, solver: str = "rta", peer: str = "ase_mlx", repeats: int = 3) -> dict:
    """phono3py's seconds and conductivity, of this environment's version or the newest; once for each and processor."""
    path = prepared(name)
    ph = load_third_order(path)
    release = version("phono3py") if peer == "ase_mlx" else "newest"
    key = digest(ph.fc3, ph.fc2, ph.nac_params, mesh, solver, release, machine()["cpu"])
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    if key not in kept:
        files = {part: str(path.with_name(f"{part}.hdf5")) for part in ("fc3", "fc2")}
        request = {"task": "conductivity", "yaml": str(path), "mesh": mesh, "solver": solver} | files
        once = mesh >= LARGE or solver == "iterative" or name in OTHERS
        runs = [ask(peer, dict(request), "phono3py_worker.py") for _ in range(1 if once else repeats)]
        row = {part: statistics.median(run[part] for run in runs) for part in ("read", "rest", "kappa")}
        about = {"material": name, "mesh": mesh, "solver": solver, "version": runs[0]["version"], "runs": len(runs)}
        kept[key] = about | {"cpu": machine()["cpu"]} | row
        write_text(KEPT, json.dumps(kept, indent=1) + "\n")
    return kept[key]


def ours(name: str, mesh: int, solver: str = "rta", rank=None) -> dict:
    """The same of ours."""
    begin = time.process_time()
    ph = load_third_order(prepared(name))
    read = time.process_time()
    options = {"solver": solver, "tolerance": SOFT.get(name, 0.05)}
    kappa = float(conductivity(ph, None, (mesh,) * 3, ROOM, rank, **options).kappa[0, :3].mean())
    return {"read": read - begin, "rest": time.process_time() - read, "kappa": kappa}


def median(runs: list[dict]) -> dict:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def whole(side: dict) -> float:
    return side["read"] + side["rest"]


def off(own: float, peer: float) -> float:
    """Percent."""
    return 100 * (own / peer - 1)


def show(row: dict) -> None:
    peer, own = row["phono3py"], row["ours"]
    numbers = f"{peer['read']:9.2f}{peer['rest']:9.2f}{own['read']:9.2f}{own['rest']:8.2f}"
    ratios = f"{whole(peer) / whole(own):9.1f}{peer['rest'] / own['rest']:7.1f}"
    apart = off(own["kappa"], peer["kappa"])
    print(f"{row['material']:8}{row['mesh']:3d}³{numbers}{ratios}{peer['kappa']:11.3f}{apart:+11.4f}", flush=True)


def beside(names: list[str], meshes: dict[str, list[int]], repeats: int, solver: str = "rta", peer="ase_mlx") -> list:
    """Rows of both sides, printed as they come."""
    print(f"{'':12}{'phono3py, s CPU':>18}{'ours, s CPU':>17}{'times faster':>16}{'kappa,':>11}{'ours off':>11}")
    print(f"{'':12}{'read':>9}{'rest':>9}{'read':>9}{'rest':>8}{'whole':>9}{'rest':>7}{'W/(m K)':>11}{'%':>11}")
    rows = []
    for name in names:
        for mesh in meshes[name]:
            own = median([ours(name, mesh, solver) for _ in range(repeats)])
            peers = theirs(name, mesh, solver, peer, repeats)
            rows.append({"material": name, "mesh": mesh, "phono3py": peers, "ours": own})
            show(rows[-1])
    return rows


def figures(rows: list[dict]) -> list[tuple]:
    """Figures to reach of relaxation times, of the four materials that have any."""
    lines = []
    for row in (row for row in rows if row["material"] in POLAR):
        peer, own, mesh, name = row["phono3py"], row["ours"], row["mesh"], f"{row['material']} {row['mesh']}³"
        goal = 1.0 if mesh < 15 else 12.0 if POLAR[row["material"]] else 5.0 if mesh < 19 else 7.0
        lines.append((f"{name}: times faster, whole", whole(peer) / whole(own), "≥", goal))
        lines.append((f"{name}: kappa off by, %", abs(off(own["kappa"], peer["kappa"])), "≤", 0.1))
    return lines


def tensors(names: list[str], meshes: dict[str, list[int]]) -> list[dict]:
    """Conductivities from a tensor's file, and with the fit; both corrected by their certificates."""
    print(
        f"{'':12}{'fit':>8}{'from its file':>15}{'times faster':>15}{'with the fit':>14}{'ours off':>11}{'bar, %':>9}"
    )
    rows = []
    for name in names:
        ph, begin = load_third_order(prepared(name)), time.process_time()
        compression = compress(crystal_of(ph))
        fit, file = time.process_time() - begin, WORK / name / "tensor.safetensors"
        save_tensor(compression.tensor, file, {"source": name, "errors": compression.errors})
        for mesh in meshes[name]:
            begin = time.process_time()
            result = conductivity(prepared(name), None, (mesh,) * 3, ROOM, file)
            seconds, peer = time.process_time() - begin, theirs(name, mesh)
            kappa = float(result.kappa[0, :3].mean())
            bar = 0.0 if result.kappa_std is None else 100 * float(result.kappa_std[0, 0] / kappa)
            rows.append({"material": name, "mesh": mesh, "fit": fit, "seconds": seconds, "kappa": kappa, "bar": bar})
            ratios = f"{whole(peer) / seconds:14.1f}{whole(peer) / (seconds + fit):14.1f}"
            print(
                f"{name:8}{mesh:3d}³{fit:8.1f}{seconds:16.2f}{ratios}{off(kappa, peer['kappa']):+11.4f}{bar:9.2f}",
                flush=True,
            )
    return rows


def learned(names: list[str], mesh: int) -> list[dict]:
    """From a crystal and a potential: pairs of displacements and the exact route, or a learned tensor."""
    print(f"{'':12}{'potential':>11}{'pairs, s':>10}{'learned, s':>12}{'kappa, pairs':>14}{'learned off, %':>16}")
    rows = []
    for name in (name for name in names if name in CRYSTALS):
        lattice, length = CRYSTALS[name]
        potential, cell, seconds = "sigesn" if name == "Si" else "universal", bulk(name, lattice, a=length), []
        kappas = []
        for rank in (None, "learned"):
            calculator, begin = Calculator(potential, dtype="float64"), time.process_time()
            result = conductivity(cell.copy(), calculator, (mesh,) * 3, ROOM, rank, supercell=15.0, error_bars=False)
            seconds.append(time.process_time() - begin)
            kappas.append(float(result.kappa[0, :3].mean()))
        rows.append({"material": name, "potential": potential, "mesh": mesh, "seconds": seconds, "kappa": kappas})
        numbers = f"{seconds[0]:10.1f}{seconds[1]:12.1f}{kappas[0]:14.3f}{off(kappas[1], kappas[0]):+16.2f}"
        print(f"{name:8}{mesh:3d}³{potential:>11}{numbers}", flush=True)
    return rows


def threads(names: list[str], mesh: int, repeats: int) -> list[dict]:
    """Wall seconds of the part that goes over the mesh."""
    print(f"{'':12}{'one thread, s':>15}{'two, s':>9}{'ratio':>8}")
    rows = []
    for name in names:
        crystal, seconds = crystal_of(load_third_order(prepared(name))), []
        for count in (1, 2):
            torch.set_num_threads(count)
            runs = []
            for _ in range(repeats):
                begin = time.perf_counter()
                relaxation_times(crystal, (mesh,) * 3, ROOM)
                runs.append(time.perf_counter() - begin)
            seconds.append(statistics.median(runs))
        torch.set_num_threads(1)
        rows.append({"material": name, "mesh": mesh, "seconds": seconds})
        print(f"{name:8}{mesh:3d}³{seconds[0]:15.2f}{seconds[1]:9.2f}{seconds[0] / seconds[1]:8.2f}", flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the exact table at 9³ alone, one run of each")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument("--materials", nargs="+", choices=[*POLAR, *OTHERS], default=[*POLAR, *OTHERS])
    parser.add_argument("--meshes", nargs="+", type=int, help="9, 15 and 21 (silicon: 19) if not given")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    about = machine() | {"phono3py": version("phono3py")}
    print_machine(about)
    torch.set_num_threads(1)
    ours("Si", 5)  # compiles
    names, repeats = options.materials, 1 if options.quick else 3
    judged = [name for name in names if name in POLAR]
    chosen = options.meshes or ([9] if options.quick else None)
    finest = {name: FINEST.get(name, 21) for name in names}
    meshes = {name: chosen or [9, *([] if finest[name] < 15 else [15]), finest[name]] for name in names}
    tables = ("exact",) if options.quick else options.tables
    made, lines = {}, []
    for table in tables:
        print(f"\n{table}")
        if table == "exact":
            made[table] = beside(names, meshes, repeats)
            lines += figures(made[table])
        elif table == "newest":
            made[table] = beside(judged, dict.fromkeys(judged, [15]), repeats, peer="phono3py")
        elif table == "iterative":
            made[table] = beside(judged, dict.fromkeys(judged, [9, 11]), repeats, "iterative")
        elif table == "tensors":
            made[table] = tensors(judged, meshes)
        elif table == "learned":
            made[table] = learned(judged, 9)
        else:
            made[table] = threads(judged, 15, repeats)
            ratios = {row["material"]: row["seconds"][0] / row["seconds"][1] for row in made[table]}
            lines += [(f"{name} 15³: two threads, times faster", ratio, "≥", 1.6) for name, ratio in ratios.items()]
    reached = verdict(lines)
    if options.json:
        options.json.write_text(json.dumps({"machine": about, **made, "reached": reached}, indent=1))
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
