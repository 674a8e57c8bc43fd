"""DFT codes, or any ASE calculator, as teachers that label structures.

Source: ours; Quantum ESPRESSO: P. Giannozzi et al., J. Phys. Condens. Matter 29, 465901 (2017).
"""

import difflib
import hashlib
import json
import math
import os
import re
import resource
import shlex
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.singlepoint import SinglePointCalculator

from ase_mlx.adapters.ase.labels import in_voigt
from ase_mlx.adapters.espresso_checks import ACCEPTED, bands_of, expect_cutoff, expect_mesh
from ase_mlx.adapters.factories import callable_factory, made_by
from ase_mlx.data.densities import DensityFrame, write_densities
from ase_mlx.data.espresso_density import on_grid, read_charge_density
from ase_mlx.data.io import read_frames, write_frames
from ase_mlx.data.label import DENSITY, FAILURE, FRAME, LABELLED, NO_TEACHER, Teacher
from ase_mlx.keep import contents, digest
from ase_mlx.learn.config import TOML, read_toml
from ase_mlx.reading import reading

__all__ = ["calculator", "espresso", "teacher"]

SETTINGS: dict[str, Any] = {
    "ecut_Ry": None,
    "k_mesh": None,
    "k_spacing": None,
    "shifted": True,
    "smearing_Ry": None,
    "convergence_Ry_per_atom": 1.25e-9,
    "symmetry": False,
    "input": {},
}
"""Settings of one family of structures with their defaults; None: the config has to give it."""

MOST_OCCUPIED = 2e-3
"""Occupation of the highest band above which a label is none: 5e-3 in a cell of 32 Al moved a phonon by 7 %."""

TOP = ("command", "pseudo_dir", "timeout_s", "pseudopotentials", "settings", "family", "accept")


def teacher(
    name: str, config: str | Path | None = None, pseudo_dir: str | Path | None = None, density: bool = False
) -> Teacher:
    """Name a teacher: `espresso`, or `module:factory` for a function that gives an ASE calculator.

    Args:
        name: `espresso`, or the factory's module and name; the module is sought in the working folder too.
        config: a TOML file: settings of `espresso` (docs/label.md), or the factory's keyword arguments and `timeout_s`.
        pseudo_dir: the folder of the pseudopotentials, in place of the config's.
        density: whether it leaves the electron density (e/Å³) too, which `espresso` alone does.

    Raises:
        ValueError: an unknown name, a wrong key or value in the config, a missing pseudopotential; a density asked of
            a calculator.
        FileNotFoundError: no such config or program.

    Source: ours.
    """
    if config is not None:
        with reading(config, TOML, "docs/label.md shows one"):
            return _teacher(name, read_toml(config), Path(config).parent, pseudo_dir, density)
    return _teacher(name, {}, Path(), pseudo_dir, density)


def _teacher(name: str, table: dict[str, Any], base: Path, pseudo_dir: str | Path | None, density: bool) -> Teacher:
    timeout = table.get("timeout_s", 7200)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < math.inf:
        raise ValueError(f"got timeout_s = {timeout!r}, expected a positive number of seconds")
    if name == "espresso":
        return espresso(table, pseudo_dir or base / table.get("pseudo_dir", "pseudo"), density)
    if density:
        raise ValueError(f"got teacher {name!r}, which gives no density that can be kept; expected 'espresso' for one")
    if ":" in name:
        return calculator(name, table)
    raise ValueError(f"got teacher {name!r}, expected 'espresso' or 'module:factory' of an ASE calculator")


def espresso(config: Mapping[str, Any], pseudo_dir: str | Path, density: bool = False) -> Teacher:
    """Label with `pw.x` of Quantum ESPRESSO: the Mermin free energy (eV) as energy, forces (eV/Å), stress (eV/Å³).

    Args:
        config: tables as in examples/espresso_group4.toml; cutoff, smearing and convergence in Ry.
        pseudo_dir: the folder of the UPF files.
        density: whether the density of the valence electrons (e/Å³) on the grid of the code is left beside the labels.

    Raises:
        ValueError: a wrong key or value, a missing pseudopotential.
        FileNotFoundError: `pw.x` is not installed.

    Source: ours.
    """
    _known(config, TOP, "the config")
    command = str(config.get("command", "pw.x"))
    if shutil.which(shlex.split(command)[0]) is None:
        raise FileNotFoundError(
            f"got command {command!r}, expected a program on the PATH; install Quantum ESPRESSO (Debian: "
            "quantum-espresso) or give its path as `command` in the config"
        )
    files = dict(config.get("pseudopotentials", {}))
    folder = Path(pseudo_dir).resolve()
    lacking = [file for file in files.values() if not (folder / file).is_file()]
    if not files:
        raise ValueError(
            "got no pseudopotentials, expected a table [pseudopotentials] with a UPF file per element in the config; "
            "examples/espresso_group4.toml shows one"
        )
    if lacking:
        raise ValueError(
            f"got pseudopotentials {', '.join(lacking)} that are not in {str(folder)!r}, expected a UPF file per "
            "element there; give the right folder as `pseudo_dir` in the config or --pseudo-dir"
        )
    families = {"": {**SETTINGS, **config.get("settings", {})}}
    for family, changes in config.get("family", {}).items():
        other = {"k_mesh": "k_spacing", "k_spacing": "k_mesh"}
        families[family] = {**families[""], **{other[k]: None for k in other if k in changes}, **changes}
    accept = config.get("accept", [])
    if not isinstance(accept, list) or set(map(str, accept)) - set(ACCEPTED):
        raise ValueError(f"got accept = {accept!r} in the config, expected a list of {', '.join(ACCEPTED)}")
    for family, settings in families.items():
        _check(settings, where := f"family {family!r}" if family else "[settings]")
        if "cutoff" not in accept:
            expect_cutoff(settings["ecut_Ry"], {symbol: folder / file for symbol, file in files.items()}, where)
    sums = {symbol: _sha256(folder / file) for symbol, file in sorted(files.items())}
    chosen = {f: {k: v for k, v in s.items() if (k, v) != ("k_spacing", None)} for f, s in families.items()}
    identity = json.dumps({"espresso": chosen, "pseudopotentials": sums}, sort_keys=True)
    spec = {"command": command, "pseudo_dir": str(folder), "pseudopotentials": files, "families": families}
    spec |= {"density": density, "accept": accept}
    return Teacher("espresso", _command({"espresso": spec}), identity, float(config.get("timeout_s", 7200)))


def calculator(factory: str, arguments: Mapping[str, Any] | None = None) -> Teacher:
    """Label with any ASE calculator: `factory` is `module:name` of a function or class called with `arguments`.

    The result is the calculator's force-consistent free energy (eV) where it has one, else its energy; a stress where
    it has one and the cell a volume.

    Raises:
        ValueError: there is no such module or name.

    Source: ours.
    """
    arguments = dict(arguments or {})
    timeout = float(arguments.pop("timeout_s", 7200))
    make = callable_factory(factory, arguments)
    # files that it names and is defined by, too, but those of this package
    _, lasting, _ = contents((make, arguments), lambda owner, name: False)
    identity = json.dumps({factory: arguments, "content": digest(lasting)[:12]}, sort_keys=True)
    return Teacher(factory, _command({"factory": factory, "arguments": arguments}), identity, timeout)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def _command(spec: dict[str, Any]) -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", "ase_mlx.adapters.teachers", json.dumps(spec))


def _known(table: Mapping[str, Any], names, where: str) -> None:
    for key in table:
        if key not in names:
            near = difflib.get_close_matches(key, names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"got key {key!r} in {where}, expected one of {', '.join(names)}{hint}")


def _check(settings: Mapping[str, Any], where: str) -> None:
    _known(settings, tuple(SETTINGS), where)
    for key in ("ecut_Ry", "smearing_Ry", "convergence_Ry_per_atom"):
        value = settings[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1e6:
            raise ValueError(f"got {key} = {value!r} in {where}, expected a positive number of Ry")
    for key in ("shifted", "symmetry"):
        if not isinstance(settings[key], bool):
            raise ValueError(f"got {key} = {settings[key]!r} in {where}, expected true or false")
    mesh, spacing = settings["k_mesh"], settings["k_spacing"]
    if spacing is not None:
        number = isinstance(spacing, int | float) and not isinstance(spacing, bool) and 0 < spacing < 10
        if mesh is not None or not number:
            raise ValueError(
                f"got k_spacing = {spacing!r} and k_mesh = {mesh!r} in {where}, expected either a positive number of "
                "1/Å or three positive integers"
            )
    elif not (isinstance(mesh, list) and len(mesh) == 3 and all(type(n) is int and n > 0 for n in mesh)):
        raise ValueError(f"got k_mesh = {mesh!r} in {where}, expected three positive integers")


def _run_espresso(atoms: Atoms, spec: Mapping[str, Any], folder: Path) -> Atoms:
    """Run `pw.x` once in `folder` and read what ASE's reader leaves out."""
    from ase.calculators.espresso import Espresso, EspressoProfile

    settings = spec["families"].get(str(atoms.info.get("family", "")), spec["families"][""])
    mesh = expect_mesh(settings, atoms, spec.get("accept", ()))
    lacking = sorted(set(atoms.symbols) - set(spec["pseudopotentials"]))
    if lacking:
        raise ValueError(f"no pseudopotential for {', '.join(lacking)} in the config")
    charge, system = atoms.info.get("charge", 0), settings["input"].get("system", {})
    if charge != system.get("tot_charge", 0):
        raise ValueError(
            f"info['charge'] = {charge}, but pw.x would be run with {system.get('tot_charge', 0)}: give the frame a "
            f"family with input = {{ system = {{ tot_charge = {charge} }} }} in the config, or take the charge off"
        )
    data = {
        "control": {"calculation": "scf", "tprnfor": True, "tstress": True, "disk_io": "low", "outdir": "."},
        "system": {
            **{"ecutwfc": settings["ecut_Ry"], "occupations": "smearing", "smearing": "fd"},
            **{"degauss": settings["smearing_Ry"], "nosym": not settings["symmetry"]},
            **bands_of(settings, atoms, {s: Path(spec["pseudo_dir"], f) for s, f in spec["pseudopotentials"].items()}),
        },
        "electrons": {"conv_thr": settings["convergence_Ry_per_atom"] * len(atoms), "electron_maxstep": 100},
    }
    for namelist, extra in settings["input"].items():
        data.setdefault(namelist, {}).update(extra)
    run = Espresso(
        profile=EspressoProfile(command=spec["command"], pseudo_dir=spec["pseudo_dir"]),
        directory=folder,
        pseudopotentials={symbol: spec["pseudopotentials"][symbol] for symbol in set(atoms.symbols)},
        input_data=data,
        kpts=mesh,
        koffset=(int(settings["shifted"]),) * 3,
    )
    output = folder / "espresso.pwo"
    try:
        results = run.calculate(_free(atoms), ["energy", "forces", "stress"], ()) or run.results
    except Exception as error:
        raise RuntimeError(_why(output) or f"{type(error).__name__}: {error}") from error
    if why := _why(output):
        raise RuntimeError(why)
    _check_bands(folder)
    text = output.read_text(encoding="utf-8", errors="replace")
    grid = " ".join(map(str, mesh)) + (" shifted" if settings["shifted"] else "")
    atoms.info |= {"k_grid": grid, **{key: settings[key] for key in ("ecut_Ry", "smearing_Ry")}, **_facts(text)}
    return _labelled(atoms, results["free_energy"], results["forces"], results["stress"])


def _why(output: Path) -> str:
    """Say why a `pw.x` output is no result, or nothing where it is one."""
    text = output.read_text(encoding="utf-8", errors="replace") if output.is_file() else ""
    if "convergence NOT achieved" in text:
        return "SCF not converged"
    if error := re.search(r"Error in routine.*\n.*", text):
        return f"pw.x: {' '.join(error[0].split())}"
    if "convergence has been achieved" not in text or "JOB DONE" not in text:
        return "pw.x stopped before the end of its output"
    return ""


def _check_bands(folder: Path) -> None:
    """Refuse a result whose highest band is occupied: electrons of the bands above are squeezed into those below."""
    path = folder / "pwscf.xml"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    bands = [block.split() for block in re.findall(r'<occupations size="\d+">(.*?)</occupations>', text, re.DOTALL)]
    highest = max((float(block[-1]) for block in bands), default=0.0)
    if highest > MOST_OCCUPIED:
        raise RuntimeError(
            f"the highest of {len(bands[0])} bands is occupied by {highest:.2g} (at most {MOST_OCCUPIED:g}): give "
            "more, in the config's input = { system = { nbnd = ... } }"
        )


def _keep_density(atoms: Atoms, scratch: Path, folder: Path) -> None:
    """Pack the density of a finished run; labels that stand in the frame's own file are not repeated with it."""
    waves = read_charge_density(scratch / "pwscf.save" / "charge-density.dat")
    density = on_grid(*waves, tuple(atoms.info["grid_shape"]))
    facts = {key: value for key, value in atoms.info.items() if isinstance(value, str | int | float)}
    plain = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    name = facts.pop("config_name")
    write_densities(folder / DENSITY, [DensityFrame(name, plain, density, facts)])


def _facts(text: str) -> dict[str, Any]:
    """Read TS (eV), electrons, grid and CPU seconds from a `pw.x` output."""
    from ase.units import Rydberg

    facts: dict[str, Any] = {}
    if match := re.findall(r"smearing contrib\. \(-TS\)\s*=\s*(\S+) Ry", text):
        facts["minus_TS"] = float(match[-1]) * Rydberg
    if match := re.search(r"number of electrons\s*=\s*(\S+)", text):
        facts["n_electrons"] = float(match[1])
    if match := re.search(r"FFT dimensions:\s*\(\s*(\d+),\s*(\d+),\s*(\d+)\)", text):
        facts["grid_shape"] = [int(n) for n in match.groups()]
    if match := re.search(r"PWSCF\s*:\s*(?:(\d+)h)?\s*(?:(\d+)m)?\s*(?:([\d.]+)s)? CPU", text):
        hours, minutes, seconds = (float(part or 0) for part in match.groups())
        facts["cpu_s"] = round(3600 * hours + 60 * minutes + seconds, 2)
    return facts


def _run_calculator(atoms: Atoms, potential) -> Atoms:
    """Run any ASE calculator once and note the CPU seconds."""
    before = _cpu_seconds()
    free = _free(atoms)
    free.calc = potential
    if callable(getattr(potential, "reset", None)):
        potential.reset()  # ASE takes a structure that differs in tags or info alone for the last one
    try:
        energy = potential.get_property("free_energy", free)
    except PropertyNotImplementedError:
        energy = potential.get_property("energy", free)
    forces = potential.get_property("forces", free)
    stress = None
    if atoms.cell.rank == 3:
        try:
            stress = potential.get_property("stress", free)
        except (PropertyNotImplementedError, NotImplementedError):
            pass
    atoms.info["cpu_s"] = round(_cpu_seconds() - before, 2)
    return _labelled(atoms, energy, forces, stress)


def _free(atoms: Atoms) -> Atoms:
    """The structure without constraints: a code that knows of them gives no force on a held atom."""
    free = atoms.copy()
    free.set_constraint()
    return free


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def _labelled(atoms: Atoms, energy, forces, stress) -> Atoms:
    results = {"energy": float(energy), "free_energy": float(energy), "forces": np.asarray(forces)}
    if stress is not None:
        results["stress"] = in_voigt(stress)
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def _serve(spec: Mapping[str, Any]) -> None:
    """Label folders named on standard input until it ends; when the parent dies, end with all children at once."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    folders: list[str] = []
    waiting = threading.Semaphore(0)

    def listen() -> None:
        for line in sys.stdin:
            folders.append(line.rstrip("\n"))
            waiting.release()
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=listen, daemon=True).start()
    sys.path.append(os.getcwd())  # after all else, for good: what a factory imports later may lie there, too
    potential, trouble = None, ""
    try:
        potential = None if "espresso" in spec else made_by(spec["factory"], spec["arguments"])
    except Exception as error:
        trouble = (
            f"{NO_TEACHER}{error}" if isinstance(error, ValueError) else f"{NO_TEACHER}{type(error).__name__}: {error}"
        )
    while True:
        waiting.acquire()
        folder = Path(folders.pop(0))
        if trouble:
            (folder / FAILURE).write_text(trouble, encoding="utf-8")
            print("answered", file=answers, flush=True)
            continue
        try:
            atoms = read_frames(folder / FRAME)[0]
            if potential is None:
                with tempfile.TemporaryDirectory(dir=folder) as scratch:
                    atoms = _run_espresso(atoms, spec["espresso"], Path(scratch))
                    if spec["espresso"]["density"]:
                        _keep_density(atoms, Path(scratch), folder)
            else:
                atoms = _run_calculator(atoms, potential)
            write_frames(folder / "part.extxyz", [atoms])
            (folder / "part.extxyz").replace(folder / LABELLED)
        except Exception as error:
            (folder / FAILURE).write_text(f"{type(error).__name__}: {error}", encoding="utf-8")
        print("answered", file=answers, flush=True)


if __name__ == "__main__":
    _serve(json.loads(sys.argv[1]))
