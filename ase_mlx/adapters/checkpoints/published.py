"""Published checkpoints that are known here by the sha256 of their files: what they were taught, by whom, the licence.

Source: addresses as in the code of nequix 0.4.5 and the wheel of sevenn 0.13.0; files and papers as named.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ase_mlx.pretrained import FOLDER
from ase_mlx.reading import parsed_json, reading

TABLES = FOLDER / "errors_against_dft.json"
"""Errors against DFT by class of bonding of those that they were measured of: `data/against_dft.py`."""

OMAT = "OMat24 (arXiv 2410.12771) and sAlex (CC BY 4.0), MPtrj (MIT)"
PHONONS = "phonons of MDR (CC BY 4.0)"
PBE = "PBE and PBE+U of the Materials Project's kind, without dispersion (layers, molecules: --dispersion)"
NEQUIX = "https://github.com/atomicarchitects/nequix/raw"
PAPERS = "T. Koker et al., arXiv 2508.16067"
PHONON_PAPER = "phonon fine-tuning arXiv 2601.07742"


@dataclass(frozen=True)
class Published:
    """A published checkpoint: name, file, sha256, address, training data, level of theory, licence, papers.

    `errors` is how far it is from DFT: of 3,480 crystals of the Materials Project at rest the mean force component
    (meV/Å) and stress (GPa), the median formation energy without U (meV/atom); the forces of hot and strained cells of
    Si, Si–Ge–Sn and Al, which it never saw (% of their rms).

    Source: ours; `errors` by `benchmarks/teacher_errors.py`.
    """

    name: str
    sha256: str
    address: str
    training_data: str
    level_of_theory: str
    licence: str
    papers: str
    advice: str
    errors: tuple[float, ...] = ()

    @property
    def against_dft(self) -> str:
        """Say how far it is from DFT (units in the text), or that this was not looked at.

        Source: `benchmarks/teacher_errors.py`.
        """
        if not self.errors:
            return "not looked at here"
        force, stress, energy, *hot = self.errors
        rest = f"forces {force:.0f} meV/Å, stress {stress:.2f} GPa (means: upper bounds)"
        cells = ", ".join(f"{name} {share:.0f}" for name, share in zip(("Si", "Si-Ge-Sn", "Al"), hot, strict=True))
        return (
            f"3,480 Materials Project crystals at rest: {rest}, formation energies {energy:.1f} meV/atom (median, no "
            f"+U); forces of hot and strained cells it never saw, by other pseudopotentials: {cells} % of their rms. "
            "Of hot cells of other materials nothing is known"
        )


SEVENN = "PyPI, wheel of sevenn 0.13.0 (`pip download --no-deps sevenn==0.13.0`, a zip): sevenn/pretrained_potentials"

CHECKPOINTS: tuple[Published, ...] = (
    Published(
        "nequix-oam-1-pft",
        "4ce693d68886512aab50c84ea2400efd68163e11155f7c7babe98e695177e809",
        f"{NEQUIX}/9c852a9c4cce69ae5e75bc5a2cf670be21ff8c28/models/nequix-oam-1-pft.nqx",
        f"{OMAT}; then {PHONONS}",
        PBE,
        "MIT (repository atomicarchitects/nequix)",
        f"{PAPERS}; {PHONON_PAPER}",
        "energies, forces, phonons and conductivities of crystals: the first to try",
        (26.0, 0.337, 7.8, 4.8, 9.9, 9.9),
    ),
    Published(
        "nequix-oam-1",
        "6a43475eaeb32a7a049f36c1306d78aa1e7a17e8af37aeda7901c8fec0ca845c",
        f"{NEQUIX}/9c852a9c4cce69ae5e75bc5a2cf670be21ff8c28/models/nequix-oam-1.nqx",
        OMAT,
        PBE,
        "MIT (repository atomicarchitects/nequix)",
        PAPERS,
        "energies and forces; the one above is better for phonons",
        (22.7, 0.292, 7.3, 15.5, 12.2, 12.1),
    ),
    Published(
        "nequix-mp-1-pft",
        "a88aeaed71fd447572dc57af21d469207d7737b85a6dbb66f8c38156f175c5f1",
        f"{NEQUIX}/7c2854de8e754b1a60274c7d9d2e014989ed632e/models/nequix-mp-1-pft.nqx",
        f"MPtrj (MIT); then {PHONONS}",
        PBE,
        "weights CC BY 4.0, code MIT (repository atomicarchitects/nequix)",
        f"{PAPERS}; {PHONON_PAPER}",
        "comparison with published benchmarks: it saw the Materials Project alone",
        (26.3, 0.390, 8.9, 7.3, 14.9, 12.4),
    ),
    Published(
        "sevennet-0",
        "7052cb42b7b3be42b40b97fa0d21077a48c54b5548948fc4dcf346629f813c36",
        f"{SEVENN}/SevenNet_0__11Jul2024/checkpoint_sevennet_0.pth",
        "MPtrj (MIT)",
        PBE,
        "MIT (sevenn)",
        "Y. Park et al., J. Chem. Theory Comput. 20, 4857 (2024)",
        "a second opinion: its differences from nequix-oam-1-pft follow the true error",
        (27.9, 0.174, 9.2, 22.8, 20.3, 15.0),
    ),
    Published(
        "sevennet-l3i5",
        "a7ff190d41efe5b8317a03d20a468e4036a1a3e64e0b14fdbab64ac3f4bfc09d",
        f"{SEVENN}/SevenNet_l3i5/checkpoint_l3i5.pth",
        "MPtrj (MIT)",
        PBE,
        "MIT (sevenn)",
        "Y. Park et al., J. Chem. Theory Comput. 20, 4857 (2024)",
        "as sevennet-0, with higher degrees: slower and more accurate",
    ),
)
"""In the order in which one may try them."""


def published(sha256: str) -> Published | None:
    """Find a published checkpoint by the sha256 of its file.

    Source: ours.
    """
    return next((one for one in CHECKPOINTS if one.sha256 == sha256), None)


def named(name: str) -> Published | None:
    """Find a published checkpoint by its name.

    Source: ours.
    """
    return next((one for one in CHECKPOINTS if one.name == name), None)


def measured(name: str) -> dict[str, Any] | None:
    """Give the errors of a published checkpoint against DFT, as a card holds them; None where they were not measured.

    Raises:
        ValueError: a damaged installation.

    Source: `data/against_dft.py`.
    """
    with reading(TABLES, "the table of errors against DFT", "install ase_mlx again"):
        table = parsed_json(TABLES.read_text(encoding="utf-8")).get(name)
    return None if table is None else {key: value for key, value in table.items() if key != "references"}


def installed(name: str) -> Path | None:
    """Find the file of a published checkpoint within the installed package that brings it, which is not imported.

    Source: ours.
    """
    one = named(name)
    spec = find_spec("sevenn") if one is not None and one.address.startswith(SEVENN) else None
    for folder in [] if spec is None else spec.submodule_search_locations or []:
        file = Path(folder) / "pretrained_potentials" / one.address.removeprefix(f"{SEVENN}/")
        if file.is_file():
            return file
    return None


def listed() -> list[dict[str, str]]:
    """Describe the published checkpoints: name, use, training data, licence, address, sha256.

    Source: ours.
    """
    return [
        {
            "name": one.name,
            "good for": one.advice,
            "training data": one.training_data,
            "against DFT": one.against_dft,
            "licence": one.licence,
            "address": one.address,
            "sha256": one.sha256,
        }
        for one in CHECKPOINTS
    ]
