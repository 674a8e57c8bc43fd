"""What became of a structure: its numbers beside their references, and the files that say them.

Source: ours.
"""

import json
import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from math import isfinite
from pathlib import Path
from time import perf_counter

from ase_mlx.reading import speechless
from ase_mlx.whole.tables import write_csv

LOG = logging.getLogger(__name__)

COLUMNS = (
    "quantity", "value", "std", "unit", "std_from", "dft", "dft_source", "experiment", "experiment_source",
    "calculator",
)  # fmt: skip


def sentence(error: Exception) -> str:
    """Say an error in its own words; with its kind in front where those alone are no sentence (a bare KeyError).

    Source: ours.
    """
    if isinstance(error, OSError) and error.filename is None and " " in (error.strerror or ""):
        return error.strerror
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return text if " " in text else f"{type(error).__name__}: {text}" if text else speechless(error)


@dataclass
class Outcome:
    """What became of one structure; `failed` and `skipped` give a reason for each stage without a result.

    `extrapolation` counts the environments of all stages that are beyond the model's training data, once for all.
    `settings` is what was asked, `results` what each stage returned, by its name: the objects that the numbers and
    figures are of. `words` turns a sentence of the package into what its reader can do (commands name options, not
    arguments). Times are in seconds.

    Source: ours.
    """

    name: str
    model: str = ""
    formula: str = ""
    kind: str = ""
    spacegroup: str | None = None
    quantities: list[dict] = field(default_factory=list)
    elastic: dict = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    extrapolation: object = None
    settings: dict[str, object] = field(default_factory=dict)
    results: dict[str, object] = field(default_factory=dict)
    words: Callable[[str], str] = str

    def stage(self, name: str, work: Callable):
        """Run one stage; its error becomes an entry of `failed`, its warnings become notes.

        Source: ours.
        """
        from ase_mlx.models.extrapolation import once

        start = perf_counter()
        with warnings.catch_warnings(record=True) as caught, once(speak=False) as environments:
            warnings.simplefilter("always")
            try:
                self.results[name] = work()
            except Exception as error:
                LOG.debug("%s failed", name, exc_info=True)
                self.failed[name] = self.words(sentence(error))
            finally:
                self.seconds[name] = round(perf_counter() - start, 2)
                seen = (self.extrapolation, environments.seen)
                self.extrapolation = seen[0] + seen[1] if all(seen) else seen[0] or seen[1]
                warned = {str(w.message) for w in caught if issubclass(w.category, UserWarning)}
                self.notes += [f"{name}: {text}" for text in sorted(warned)]
        return self.results.get(name)

    def write(self, name: str, files: Sequence[str], work: Callable) -> None:
        """Run one stage that writes files; they are listed where it did not fail.

        Source: ours.
        """
        self.stage(name, work)
        if name not in self.failed:
            self.files += files

    def computed_by(self, calculator, atoms, model: str = ""):
        """Settle the calculator (eV, Å) for a structure; note its name, and why it was chosen if that was left to us.

        Raises:
            ValueError, FileNotFoundError: as `ase_mlx.adapters.choice.settled`.

        Source: ours.
        """
        from ase_mlx.adapters.choice import settled

        calculator = settled(calculator, atoms)
        choice = getattr(calculator, "choice", None)
        self.model = model or (choice.name if choice else "")
        self.notes += [str(choice)] if choice else []
        return calculator

    def add(self, name: str, value, per: float = 1.0, unit: str | None = None) -> None:
        """Append a `Value` of the adapters, divided by `per`, under a name and the unit that then holds.

        What is not a finite number is unknown, and what is unknown is left out.

        Source: ours.
        """
        if value is None or not isfinite(value.value):
            return
        std = None if value.std is None or not isfinite(value.std) else value.std / per
        origin = None if std is None else value.origin
        numbers = {"value": value.value / per, "std": std, "unit": unit or value.unit, "std_from": origin}
        self.quantities.append({"quantity": name, **numbers})

    def conclude(self, reference: dict) -> None:
        """Put DFT and experiment, same units, beside numbers that have them; say extrapolation once for all stages.

        Source: `weights/reference.json`, which names its own.
        """
        if self.extrapolation is not None and self.extrapolation.matters:
            self.notes.insert(0, str(self.extrapolation))
        self.notes = list(dict.fromkeys(self.words(note) for note in self.notes))
        for row in self.quantities:
            measured = reference.get("quantities", {}).get(row["quantity"], {})
            row |= {column: measured.get(column) for column in COLUMNS[5:-1]} | {"calculator": self.model}


def add_elastic(outcome: Outcome, constants) -> None:
    """Append an `Elastic`'s numbers: distinct constants and moduli in GPa, Born's criterion; the tensor for JSON.

    Source: ours.
    """
    from ase_mlx.adapters.ase.job import Value

    def add(name: str, value, std, unit: str = "GPa") -> None:
        std = None if std is None else float(std)
        outcome.add(name, Value(float(value), std, unit, "members"))

    for name, (value, std) in constants.constants().items():
        add(f"elastic constant {name}", value, std)
    std = constants.eigenvalues_std
    add("least stiffness (Born: above 0)", constants.eigenvalues[0], None if std is None else std[0])
    rows = {
        "bulk modulus (Hill)": ("bulk", "GPa"),
        "shear modulus (Hill)": ("shear", "GPa"),
        "Young's modulus (Hill)": ("young", "GPa"),
        "Poisson's ratio (Hill)": ("poisson", "1"),
        "universal anisotropy": ("anisotropy", "1"),
    }
    for name, (field_name, unit) in rows.items() if constants.moduli is not None else ():
        std = None if constants.moduli_std is None else getattr(constants.moduli_std, field_name)
        add(name, getattr(constants.moduli, field_name), std, unit)
    outcome.elastic = {
        "order": "xx yy zz yz xz xy",
        "tensor_GPa": constants.tensor.tolist(),
        "tensor_std_GPa": None if constants.std is None else constants.std.tolist(),
        "clamped_ions_GPa": constants.clamped.tolist(),
        "strain": constants.strain,
        "stable": constants.stable,
    }


def add_harmonic(outcome: Outcome, waves, temperature: float) -> None:
    """Append a `Harmonic`'s numbers: frequencies in THz, thermal functions per mole of atoms at a temperature in K.

    Source: ours.
    """
    import numpy as np

    from ase_mlx.adapters.ase.job import Value

    def pick(name: str, at, unit: str):
        if getattr(waves, name) is None:
            return None
        value, std = float(np.asarray(getattr(waves, name))[at]), waves.std.get(name)
        return Value(value, None, unit) if std is None else Value(value, float(std[at]), unit, "members")

    if len(waves.gamma) > 3:
        outcome.add("highest frequency at Γ", pick("gamma", -1, "THz"))
    top = np.unravel_index(np.argmax(waves.frequencies), waves.frequencies.shape)
    outcome.add("highest frequency", pick("frequencies", top, "THz"))
    if waves.heat_capacity is None:
        return
    at, here, n = int(np.argmin(np.abs(waves.temperatures - temperature))), f"({temperature:g} K)", waves.natoms
    outcome.add(f"heat capacity C_V {here}", pick("heat_capacity", at, "J/(K mol atom)"), n)
    outcome.add(f"entropy {here}", pick("entropy", at, "J/(K mol atom)"), n)
    outcome.add(f"vibrational free energy {here}", pick("free_energy", at, "kJ/(mol atom)"), n)
    outcome.add("zero-point energy", pick("zero_point_energy", (), "kJ/(mol atom)"), n)
    outcome.add("Debye temperature (T → 0)", pick("debye_temperature", (), "K"))


def limits_of(model: str) -> list[str]:
    """What is known to be wrong with the elastic constants (GPa) of a shipped model.

    Source: `weights/reference.json`.
    """
    text = _reference()["limits"].get(model)
    return [] if text is None else [text]


def summary(outcome: Outcome) -> dict:
    """One structure's result for JSON, with the versions that made it.

    Source: ours.
    """
    return {
        **{name: value for name, value in vars(outcome).items() if name not in ("results", "words")},
        "extrapolation": outcome.extrapolation and outcome.extrapolation.as_dict(),
        "versions": {name: _version(name) for name in ("ase-mlx", "ase", "numpy", "phonopy", "torch")},
    }


def write_table(path: Path, rows: list[dict], first: tuple[str, ...] = ()) -> None:
    """Write rows as CSV, an empty field where a number is unknown.

    Raises:
        OSError: the file cannot be written.

    Source: ours.
    """
    header = [*first, *COLUMNS]
    write_csv(path, header, [[row[name] for name in header] for row in rows])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def reference_of(atoms, spacegroup: str | None) -> dict:
    """Look up what DFT and experiment say of a crystal (each number with its unit).

    It has to be the same structure: space group, volume, and the shells of neighbours around each atom; the same
    formula and group with other atoms are another crystal. Isotopes have no entries.

    Source: `weights/reference.json`, which names its own.
    """
    from ase_mlx.adapters.ase.structure_match import is_reference

    if spacegroup is None:
        return {}
    formula = atoms.get_chemical_formula(empirical=True)
    for entry in _reference()["crystals"]:
        if entry["formula"] == formula and spacegroup.endswith(f"({entry['spacegroup']})"):
            return entry if is_reference(atoms, **entry["structure"]) else {}
    return {}


def _reference() -> dict:
    return json.loads(files("ase_mlx").joinpath("weights/reference.json").read_text(encoding="utf-8"))
