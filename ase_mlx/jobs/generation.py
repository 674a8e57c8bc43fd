"""Crystals on demand: drawn from a latent space, judged by what is known before anything is computed, relaxed, ranked.

Source: ours; that ranking pays more than a better generator: N. Kazeev et al. (WyFormer-LeMat).
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ase_mlx import pretrained
from ase_mlx.adapters.ase.candidates import as_atoms, judged, mark_duplicates
from ase_mlx.data.io import read_frames, write_cif, write_frames
from ase_mlx.descriptors.hull import FILE, read_hull
from ase_mlx.descriptors.plausible import counted
from ase_mlx.jobs.report import add_report
from ase_mlx.keep import digest
from ase_mlx.models.crystals import PROPERTIES, Conditions, Crystals
from ase_mlx.progress import Progress, Steps, logged, steps_of
from ase_mlx.whole import sole, write_text
from ase_mlx.whole.tables import write_csv, write_json

PIECE = 25
"""Crystals that are drawn, judged and relaxed together: what a kill costs at most."""

LOWEST = -0.1
"""eV/atom above the hull; what lies lower is ranked last: learned energies fail downwards, and a search finds where."""

FILES = ("candidates.extxyz", "candidates.csv")
SUMMARY = "results.json"
CALL, PIECES, CIFS = "generate.json", "pieces", "cif"


@dataclass(frozen=True)
class Generated:
    """What a generation gave: candidates, the best first, as rows (eV/atom, eV, Å³) and as structures (Å).

    `rejected` counts those that are no candidates, by reason; they stand at the end of the table.

    Source: ours.
    """

    asked: int
    rows: list[dict[str, Any]]
    structures: list[Any]
    rejected: dict[str, int]
    notes: list[str]
    files: list[str]


def generation_job(
    n: int,
    folder: str | Path,
    model: str | Path = "crystals",
    seed: int = 0,
    conditions: Mapping[str, Any] | None = None,
    calculator: Any = None,
    calculator_name: str = "",
    progress: Progress | None = None,
) -> Generated:
    """Draw crystals, judge them, relax them where there is a calculator, and rank them.

    Rejected is what has atoms closer than `CLOSEST` sums of covalent radii, what equals an earlier candidate, and what
    a relaxation does not bring to rest. All others are ranked by their distance above the hull: by the calculator's own
    energies, where there are those of known crystals (`hull.csv.xz` in the model's folder, made by `data/hull.py`);
    else by the hull distance and its standard deviation that `bhnaa` tells of the structure. What lies far below the
    hull comes last: it is rather an error of the calculator. Charges that do not
    balance and strangeness stand beside it as reasons.

    The same call goes on after a kill; of another call the folder is refused.

    Args:
        n: how many crystals to draw.
        folder: for candidates.csv, candidates.extxyz and a CIF of each candidate.
        model: a shipped name or folder of a generator.
        seed: equal seeds give equal candidates.
        conditions: as of `Crystals.sample`.
        calculator: any ASE calculator with forces and stress (eV, Å); None leaves the crystals as they were drawn.
        calculator_name: how the table names it.
        progress: called with the stage, the crystals done and all.

    Raises:
        FileNotFoundError: no such model.
        ValueError: conditions that cannot be, a model that generates nothing, or a folder of another call.
        BlockingIOError: another process generates into the folder.
        OSError: the folder cannot be written.

    Source: ours.
    """
    generator = getattr(pretrained.load(model), "model", None)
    if not isinstance(generator, Crystals):
        raise ValueError(f"got {str(model)!r}, which generates no crystals, expected a model of kind 'crystals'")
    wanted = dict(conditions or {})
    if n < 1:
        raise ValueError(f"got n = {n}, expected a number of crystals from 1 on")
    Conditions.of(generator, **wanted)  # refuses what cannot be before a folder is made
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with sole(folder):
        _expect_same(folder, n, seed, wanted, generator, calculator_name)
        report = steps_of(progress, "relaxed" if calculator is not None else "drawn") or logged("crystals judged")
        drawn = _pieces(n, folder, generator, seed, wanted, calculator, report)
        _mark_hull(drawn, calculator_name)
        made = _ranked(drawn, folder, n, generator, calculator_name)
        _report(made, folder, {"n": n, "seed": seed, **wanted, "relax": calculator_name}, str(model))
        return made


def _report(made: Generated, folder: Path, settings: dict[str, Any], model: str) -> None:
    """Write counts and notes, and the page that shows them."""

    def write() -> None:
        counts = {"asked": made.asked, "candidates": len(made.structures), "rejected": made.rejected}
        settings_of = {"command": "generate", **settings}
        rest = {"model": model, "notes": made.notes, "files": made.files, "settings": settings_of}
        write_json(folder / SUMMARY, counts | rest)

    made.files.append(SUMMARY)
    write()
    add_report(folder, made.files, made.notes)
    write()  # with the report, or why there is none


def _pieces(n: int, folder: Path, generator: Crystals, seed: int, wanted: dict, calculator: Any, report: Steps) -> list:
    """Draw and judge crystals piece by piece; pieces that are there are read."""
    judge, drawn = pretrained.load("bhnaa"), []
    for start in range(0, n, PIECE):
        path = folder / PIECES / f"{start // PIECE:05d}.extxyz"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            made = generator.sample(min(PIECE, n - start), _seed(seed, start), **wanted)
            write_frames(path, judged([as_atoms(s) for s in made], judge, calculator))
        drawn += read_frames(path)
        report(min(start + PIECE, n), n)
    return drawn


def _mark_hull(drawn: list[Any], calculator: str) -> None:
    """Write the distance above the hull by the calculator's energies (eV/atom) onto relaxed crystals."""
    try:
        path = pretrained.find(calculator) / FILE if calculator else Path()
    except FileNotFoundError:  # a calculator that is no model of ours
        return
    if not path.is_file():
        return
    hull = read_hull(path)
    for atoms in drawn:
        if "rejected" not in atoms.info and "relaxed_energy" in atoms.info:
            lowest = hull.lowest(counted(atoms))
            if np.isfinite(lowest):
                atoms.info["above_hull"] = atoms.info["relaxed_energy"] / len(atoms) - lowest


def _seed(seed: int, start: int) -> int:
    return int(np.random.SeedSequence([seed, start]).generate_state(1)[0])


def _expect_same(folder: Path, n: int, seed: int, wanted: dict, generator: Crystals, calculator: str) -> None:
    """Refuse a folder that another call began; say whose it is from now on."""
    weights = digest([t.numpy() for t in generator.state_dict().values()])[:16]
    call = {"n": n, "seed": seed, "conditions": wanted, "model": weights, "calculator": calculator}
    call = json.loads(json.dumps(call))
    path = folder / CALL
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before != call:
            changed = ", ".join(key for key in call if before.get(key) != call[key])
            raise ValueError(
                f"got the folder {str(folder)!r}, which holds the candidates of another call ({changed} differ), "
                "expected a new one; name another one with -o"
            )
    elif any(folder.glob("candidates.*")):
        raise ValueError(f"got the folder {str(folder)!r}, which holds candidates, expected a new one")
    write_text(path, json.dumps(call, indent=1))


def _ranked(drawn: list[Any], folder: Path, n: int, generator: Crystals, calculator: str) -> Generated:
    """Find duplicates, rank, and write table, structures and CIFs."""
    mark_duplicates(drawn)
    good = [k for k, atoms in enumerate(drawn) if "rejected" not in atoms.info]
    good.sort(key=lambda k: _order(drawn[k].info))
    bad = [k for k in range(len(drawn)) if k not in set(good)]
    rows = [_row(rank, k, drawn[k], generator, calculator) for rank, k in enumerate(good, start=1)]
    rows += [_row(0, k, drawn[k], generator, calculator) for k in bad]
    header = list(dict.fromkeys(key for row in rows for key in row))
    write_csv(folder / FILES[1], header, [[row.get(key, "") for key in header] for row in rows])
    structures = [drawn[k] for k in good]
    files = [FILES[1]]
    if structures:
        write_frames(folder / FILES[0], structures)
        files += [FILES[0], CIFS]
        _write_cifs(folder / CIFS, rows, structures)
    reasons = Counter(drawn[k].info["rejected"].split(":")[0] for k in bad)
    notes = [f"{count} rejected: {reason}" for reason, count in reasons.most_common()]
    known = sum(row["known"] for row in rows[: len(good)])
    if known:
        notes.append(f"{known} of {len(good)} candidates were among the training crystals (known)")
    if calculator == "":
        notes.append("as drawn: -c NAME brings them to rest with a calculator first")
    if "band_gap" in generator.config.properties:
        notes.append("band gaps are those of PBE, about 40 % smaller than measured ones")
    return Generated(n, rows, structures, dict(reasons), notes, files)


def _order(about: Mapping[str, Any]) -> tuple[bool, bool, float]:
    """By the calculator's distance above the hull where it is known, else by the learned one with its deviation."""
    learned = float(about["hull_distance"] + about["hull_distance_std"])
    value = float(about.get("above_hull", learned))
    return value < LOWEST, "above_hull" not in about, value


def _row(rank: int, place: int, atoms: Any, generator: Crystals, calculator: str) -> dict[str, Any]:
    about = atoms.info
    row = {
        "rank": rank or "",
        "name": f"{atoms.get_chemical_formula(empirical=True)}-{place:05d}",
        "formula": atoms.get_chemical_formula(empirical=True),
        "space_group": int(about["space_group"]),
        "atoms": len(atoms),
        "known": bool(about["known"]),
    }
    for name, unit in (("hull_distance", "eV/atom"), ("formation_energy", "eV/atom")):
        for key in (name, f"{name}_std"):
            row[f"{key} ({unit})"] = round(float(about[key]), 4) if "novelty_probability" in about else ""
    told = [name for name in generator.config.properties if name not in ("hull_distance", "formation_energy")]
    for name in told:
        for key in (name, f"{name}_std"):
            row[f"{key} ({PROPERTIES[name]})"] = round(float(about[key]), 3)
    if calculator:
        energy = round(float(about["relaxed_energy"]) / len(atoms), 4) if "relaxed_energy" in about else ""
        row[f"energy of {calculator} (eV/atom)"] = energy
        row[f"above hull by {calculator} (eV/atom)"] = (
            round(float(about["above_hull"]), 4) if "above_hull" in about else ""
        )
        row["volume change (%)"] = round(float(100 * (atoms.cell.volume / len(atoms) / about["volume_drawn"] - 1)), 1)
    row["strange (%)"] = round(float(100 * about["novelty_probability"]), 1) if "novelty_probability" in about else ""
    row["reasons"] = "; ".join(_reasons(atoms))
    return row


def _reasons(atoms: Any) -> list[str]:
    about, reasons = atoms.info, []
    if "rejected" in about:
        reasons.append(f"rejected: {about['rejected']}")
    if about.get("above_hull", 0.0) < LOWEST:
        reasons.append("far below the hull: rather an error of the calculator than a discovery")
    if not about["charges_balance"]:
        reasons.append("charges do not balance in common oxidation states")
    if about.get("novelty_probability", 0) > 0.95:
        reasons.append("stranger than 95 % of the training crystals")
    if about["known"]:
        reasons.append("known: same elements on the same positions of the same group")
    return reasons


def _write_cifs(folder: Path, rows: list[dict[str, Any]], structures: list[Any]) -> None:
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.cif"):
        old.unlink()
    for row, atoms in zip(rows, structures, strict=False):
        write_cif(folder / f"{row['rank']:05d}-{row['formula']}.cif", atoms)
