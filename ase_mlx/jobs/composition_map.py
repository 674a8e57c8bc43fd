"""A map over the compositions of three elements: energy, mixing energy, lattice, bulk modulus, density, with bars.

Source: ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.ase.job import equation_of_state, property_or_none, relax, spread
from ase_mlx.adapters.ase.mixed_crystals import mixed_crystal, site_volumes
from ase_mlx.adapters.ase.relaxations import FAILURES
from ase_mlx.figures.ternary import draw_composition_map
from ase_mlx.jobs.composition_errors import Judges, density_rows, distances, error_table, read_judges, shares_of
from ase_mlx.learn.active.settings import ActiveSettings, MapSettings, read_settings
from ase_mlx.learn.active.simplex import lattice
from ase_mlx.learn.density.samples import free_electrons
from ase_mlx.models.extrapolation import once
from ase_mlx.progress import Progress, Steps, logged, steps_of
from ase_mlx.quantities import SYMBOLS
from ase_mlx.whole.tables import write_csv

MAP, ERRORS, FIGURE = "composition_map.csv", "composition_errors.csv", "composition_map.png"
FILES = (MAP, ERRORS, FIGURE)
"""What a map may write."""
BYTES = 3_000_000
"""That the files may take."""
UNITS = {
    "energy": "eV/atom", "mixing_energy": "meV/atom", "lattice_constant": "Å", "bulk_modulus": "GPa",
}  # fmt: skip
FORCE, VOLUMES = 5e-3, 7
"""eV/Å of relaxations, and points of an equation of state. With 0.001 and 9, in twice the time, three alloys with 1, 4
and 6 of 8 atoms tin have energies within 0.005 meV/atom, lattice constants within 0.02 mÅ, moduli within 0.02 GPa."""
SPACING = 0.1
"""Å between points at which the density's bar is averaged; with 0.25, where atoms lie on points, it is 7 % larger."""


@dataclass(frozen=True)
class CompositionMap:
    """Quantities at the vertices of a simplex lattice, in `UNITS`, with `std`; NaN where they are not known.

    Attributes:
        elements: the corners.
        shares: of the elements at each vertex (dimensionless).
        values: by name, one number a vertex; also `density_std`, ∫σ of the density in % of its electrons, of models
            that have one.
        std: standard deviations of the same names and units.
        distance: largest score of an atom at each vertex (dimensionless, 1 is the edge of the training data).
        trained: shares (dimensionless) of compositions that the model learned from.
        labelled: the same (dimensionless) of others with DFT labels.
        labelled_densities: the same (dimensionless) of structures with DFT densities that it did not learn from.
        density_error: ∫|Δρ| of these, means over structures, in % of the electrons.
        errors: by distance from the nearest trained composition, as `error_table` gives them.
        notes: what failed or was left out.
        files: that were written.

    Source: ours.
    """

    elements: tuple[str, ...]
    shares: Float[np.ndarray, "vertices corners"]
    values: dict[str, Float[np.ndarray, " vertices"]]
    std: dict[str, Float[np.ndarray, " vertices"]]
    distance: Float[np.ndarray, " vertices"]
    trained: Float[np.ndarray, "trained corners"]
    labelled: Float[np.ndarray, "labelled corners"]
    labelled_densities: Float[np.ndarray, "densities corners"]
    density_error: Float[np.ndarray, " densities"]
    errors: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def table(self) -> list[dict[str, Any]]:
        """Give a row a vertex: shares, quantities and their std, units in the names."""
        rows = []
        for k, share in enumerate(self.shares):
            row: dict[str, Any] = dict(zip(self.elements, share.tolist(), strict=True))
            for name, unit in UNITS.items():
                label = f"{name}_{unit.replace('/', '_').replace('Å', 'A')}"
                row |= {label: float(self.values[name][k]), f"{label}_std": float(self.std[name][k])}
            if "density_std" in self.values:
                row["density_std_percent"] = float(self.values["density_std"][k])
            rows.append(row | {"distance": float(self.distance[k])})
        return rows


@dataclass(frozen=True)
class MapTask:
    """All that a map is made from: its settings, the model's calculator (eV, Å), and what judges it.

    Source: ours.
    """

    settings: MapSettings
    model: str
    calculator: Calculator
    judges: Judges


def read_map(settings: ActiveSettings | str | Path, model: str | Path) -> MapTask:
    """Read settings, model and labelled structures of a map (Å, eV); nothing is computed.

    Raises:
        FileNotFoundError: a file or model is missing.
        ValueError: wrong settings, none of a map, or a model without energies and stress or without an element.

    Source: ours.
    """
    settings = settings if isinstance(settings, ActiveSettings) else read_settings(settings)
    asked = settings.map
    if asked is None:
        raise ValueError(
            'got no table [map], expected one; add it with elements = ["Si", "Ge", "Sn"] and crystal = "diamond"'
        )
    calculator = Calculator(model, dtype="float64")
    if missing := {"energy", "stress"} - set(calculator.implemented_properties):
        names = ", ".join(q.name for q in calculator.model.outputs)
        raise ValueError(f"got {model}, which gives {names}, without {' and '.join(sorted(missing))}; name a potential")
    expect_elements(asked, str(model), [SYMBOLS[z] for z in calculator.model.elements])
    return MapTask(asked, str(model), calculator, read_judges(settings, asked, model))


def expect_elements(asked: MapSettings, model: str, known: Sequence[str]) -> None:
    """Refuse a map over elements that its model does not know.

    Raises:
        ValueError: naming them, and what can be done.

    Source: ours.
    """
    missing = [symbol for symbol in asked.elements if symbol not in known]
    if missing:
        listed = " ".join(known) if len(known) <= 20 else f"{len(known)} elements"
        raise ValueError(
            f"got {', '.join(missing)} among the elements of [map], but {model} knows {listed} only, expected a model "
            f"of {' '.join(asked.elements)}; name another one, or train it on them"
        )


def composition_map(
    settings: ActiveSettings | str | Path,
    model: str | Path,
    folder: str | Path | None = None,
    progress: Progress | None = None,
) -> CompositionMap:
    """Map a model over the compositions of three elements, and judge it by DFT labels.

    At each vertex of a simplex lattice the sites of a crystal are shared out as nearly at random as its cell allows;
    it is relaxed, and has an equation of state.

    Args:
        settings: a TOML file with a table [map] (docs/active.md), or what is in it.
        model: a shipped name, or the folder of a potential.
        folder: for the tables (CSV) and the picture; None: nothing is written.
        progress: called with the stage, the number of steps done and the number in all.

    Returns:
        Energies (eV/atom, meV/atom), lattice constants (Å), bulk moduli (GPa), bars of densities (%), with std.

    Raises:
        FileNotFoundError: a file or model is missing.
        ValueError: wrong settings, or a model without energies, stress or one of the elements.
        RuntimeError: no composition could be computed.
        OSError: the folder cannot be written.

    Source: ours.
    """
    return map_job(read_map(settings, model), folder, progress)


def map_job(task: MapTask, folder: str | Path | None = None, progress: Progress | None = None) -> CompositionMap:
    """Compute, judge and write what `read_map` has read; arguments and units as of `composition_map`.

    Raises:
        RuntimeError: no composition could be computed.
        OSError: the folder cannot be written.

    Source: ours.
    """
    asked, model = task.settings, task.calculator.model
    shares = lattice(len(asked.elements), asked.divisions) / asked.divisions
    with once(speak=False):
        vertices, notes = _vertices(task, steps_of(progress, "compositions") or logged("compositions"))
        has_density = any("density_std" in vertex for vertex in vertices)
        frames = task.judges.densities if has_density else []
        of_densities = density_rows(model, frames, steps_of(progress, "densities"))
        step = 1 / asked.divisions
        errors = error_table(model, task.judges, asked.elements, step, of_densities)
    if not has_density:
        notes.append(f"No density: {task.model} has none with error bars. Its panels and columns are left out.")
    if not errors:
        notes.append("No errors: none of the structures in `pool` and `test` has labels that the model has not seen.")
    values, std = _quantities(vertices, shares)
    if has_density:
        values["density_std"] = np.array([vertex.get("density_std", np.nan) for vertex in vertices])
    distance = np.array([vertex.get("distance", np.nan) for vertex in vertices])
    notes += [*task.judges.notes, *_beyond(distance)]
    places = _labelled(task.judges, asked.elements, frames, of_densities)
    chart = CompositionMap(asked.elements, shares, values, std, distance, *places, errors, notes)
    if folder is not None:
        chart.files.extend(_write(chart, Path(folder)))
    return chart


def _vertices(task: MapTask, progress: Steps) -> tuple[list[dict[str, Any]], list[str]]:
    """Compute the crystals; one that fails is noted, and costs no other."""
    asked, volumes = task.settings, site_volumes(task.settings.elements)
    parts, vertices, notes = lattice(len(asked.elements), asked.divisions), [], {}
    for k, counts in enumerate(parts.tolist()):
        atoms, cells = mixed_crystal(asked.crystal, dict(zip(asked.elements, counts, strict=True)), volumes)
        vertex: dict[str, Any] = {}
        try:
            messages = _vertex(task.calculator, atoms, cells, vertex)
        except FAILURES as error:
            messages = [f"Failed: {error}"]
        for note in dict.fromkeys(messages):
            notes.setdefault(note, []).append(str(atoms.symbols))
        vertices.append(vertex)
        progress(k + 1, len(parts))
    lines = [f"{_listed(names)}: {note}" for note, names in notes.items()]
    if not any(vertices):
        raise RuntimeError(f"got no composition of {len(parts)} computed, expected some; {lines[0]}")
    return vertices, lines


def _listed(names: Sequence[str], most: int = 4) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _vertex(calculator: Calculator, atoms: Any, cells: int, vertex: dict[str, Any]) -> list[str]:
    """Fill in what is known of one crystal; give notes."""
    relaxed = relax(atoms, calculator, FORCE)
    crystal, count = relaxed.atoms, len(relaxed.atoms)
    vertex["energy"] = relaxed.energy.value / count
    std = property_or_none(calculator, "energy_std", crystal)
    members = property_or_none(calculator, "energy_members", crystal)
    if members is not None:
        deviations = (members - members.mean()) / count
        bar = spread(deviations)
        vertex["deviations"] = deviations if std is None or not bar > 0 else deviations * float(std) / count / bar
    if std is not None:
        vertex["energy_std"] = float(std) / count
    distance = property_or_none(calculator, "distance", crystal)
    if distance is not None:
        vertex["distance"] = float(np.max(distance))
    if any(q.name == "density" for q in calculator.model.outputs):
        try:
            bars = calculator.get_density_std(crystal, SPACING)
        except ValueError:
            bars = None  # without calibrated ones
        if bars is not None:
            electrons = free_electrons(calculator.model, crystal.numbers)
            vertex["density_std"] = 100 * float(bars.mean()) * crystal.get_volume() / electrons
    curve = equation_of_state(crystal, calculator, points=VOLUMES, fmax=FORCE)
    length = (curve.volume.value / cells) ** (1 / 3)
    vertex["lattice_constant"], vertex["bulk_modulus"] = length, curve.bulk_modulus.value
    if curve.volume.std is not None:
        vertex["lattice_constant_std"] = length / 3 * curve.volume.std / curve.volume.value
        vertex["bulk_modulus_std"] = curve.bulk_modulus.std
    return [note.partition(": ")[2] if note.startswith("Volume ") else note for note in (*relaxed.notes, *curve.notes)]


def _quantities(vertices: list[dict[str, Any]], shares: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
    """Values and std by name; mixing energies are relative to the corners, member by member."""
    column = lambda name: np.array([vertex.get(name, np.nan) for vertex in vertices])  # noqa: E731
    names = [name for name in UNITS if name != "mixing_energy"]
    values, std = {name: column(name) for name in names}, {name: column(f"{name}_std") for name in names}
    corners = [int(np.argmax(shares[:, k])) for k in range(shares.shape[1])]
    mixed = lambda rows: 1e3 * (rows - shares @ rows[corners])  # noqa: E731
    values["mixing_energy"] = mixed(values["energy"][:, None])[:, 0]
    of_members = [vertex["deviations"] for vertex in vertices if "deviations" in vertex]
    if of_members:
        unknown = np.full_like(of_members[0], np.nan)
        deviations = np.array([vertex.get("deviations", unknown) for vertex in vertices])
        std["mixing_energy"] = np.std(mixed(deviations), axis=1, ddof=1)
    else:
        std["mixing_energy"] = np.full(len(vertices), np.nan)
    return values, std


def _labelled(judges: Judges, elements: Sequence[str], frames: Sequence[Any], rows: Sequence[dict]) -> tuple:
    """Compositions learned from, others with labels, those with densities, and the mean error of each of these."""
    of_densities = shares_of([f.atoms for f in frames], elements)
    places, which = np.unique(of_densities.round(9), axis=0, return_inverse=True)
    sums = np.bincount(which.ravel(), [row["error"] for row in rows], len(places))
    labelled = np.unique(np.concatenate([shares_of(judges.frames, elements), of_densities]).round(9), axis=0)
    return (
        judges.trained,
        labelled[distances(labelled, judges.trained) > 1e-6],
        places,
        sums / np.bincount(which.ravel(), minlength=len(places)),
    )


def _beyond(distance: np.ndarray) -> list[str]:
    far = int((distance > 1).sum())
    if not far:
        return []
    return [
        f"{far} of {len(distance)} compositions have atoms beyond the model's training data (distance score up to "
        f"{np.nanmax(distance):.3g}, 1 = edge): hatched in the picture. Bars of energies are widened for it, those of "
        "lattice constants and bulk moduli are not and may be too small."
    ]


def _write(chart: CompositionMap, folder: Path) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in ((MAP, chart.table()), (ERRORS, chart.errors)):
        if rows:
            write_csv(folder / name, list(rows[0]), [list(row.values()) for row in rows])
    draw_composition_map(folder / FIGURE, chart)
    return [name for name in FILES if (folder / name).is_file()]
