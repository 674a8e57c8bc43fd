"""Crystals from a latent space: round trip, validity, latent, and how often wanted properties are hit.

    python benchmarks/generate.py [MODEL] [--samples 1000] [--json FILE] [--quick] [--figure FILE]

MODEL is a folder or shipped name (crystals). Everything is drawn by seed; the header prints the settings of matcher
and validity. Samples are judged as they come, before any filter: each latent is decoded once (of each site's free
coordinates the decoder draws 32 and takes one by the room that it leaves), and what gave no crystal is printed as
rejected. Composition validity is that of SMACT 4 (charge neutrality with the oxidation states of ICSD 2024 and
Pauling's test, alloys pass), given beside that of the `test` part in the same run. Needs the extra matminer and smact.

Hits: crystals whose property lies in a window that was fixed before training, by a judge that the search never saw:
extremely random trees on the descriptors of `bhnaa`, trained on the part `val`, whose own errors on `test` are printed.
`unconditional` are samples as they come, `random` the best of 200 latents by what they tell, `range` those that are
drawn with the range, `gradient` unconditional ones after 200 steps in the latent.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import ase_mlx as am
from ase_mlx.descriptors.elements import element_property
from ase_mlx.descriptors.genes import gene_of, structure_of
from ase_mlx.learn.crystals.latent import encoded, reconstruction
from ase_mlx.learn.recipes.crystals import CrystalsRecipe
from ase_mlx.models.crystals import Conditions

sys.path.insert(0, str(Path(__file__).resolve().parent))
from generate_judges import (  # noqa: E402
    MOST_ELEMENTS,
    PUBLISHED,
    SEED,
    STATES,
    TABLE,
    UNIQUE,
    Judge,
    built,
    composition_valid,
    crystal,
    distinct,
    inside,
    pymatgen,
    reduced,
    rows_table,
    same,
    space_group,
    structure_valid,
    until_ten,
)
from verdict import machine, print_machine, verdict  # noqa: E402

WINDOWS = {"formation_energy": (-2.4, -2.0), "band_gap": (1.0, 2.5)}
"""eV/atom and eV: they hold 5 to 11 % of the training crystals."""
EVALUATIONS = 200
"""Times that a search may ask what a latent tells, for each crystal."""


def round_trip(count: int) -> float:
    """Percent of drawn crystals that come back from their genes within the published matcher."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    frame = pd.read_parquet(TABLE).sample(count, random_state=SEED)
    matcher, matched = StructureMatcher(**PUBLISHED), 0
    for row in frame.itertuples():
        atoms = crystal(row)
        try:
            again = structure_of(gene_of(atoms))
        except ValueError:
            continue
        matched += matcher.fit(pymatgen(atoms), pymatgen(again))
    return 100 * matched / count


def first_draw(model, n: int, seed: int, prior) -> tuple[list, int]:
    """Draw n crystals once each from a prior, nothing twice; how many latents gave none."""
    random = torch.Generator().manual_seed(seed)
    crystals = [a for a in built(model.decoded(prior.draw(n, random), random, Conditions.of(model))) if a is not None]
    return crystals, n - len(crystals)


def samples(model, count: int, prior) -> dict[str, float]:
    """Judge samples before any filter."""
    began = time.process_time()
    crystals, rejected = first_draw(model, count, SEED, prior)
    seconds = (time.process_time() - began) * 1000 / count
    train = rows_table("train")
    valid = np.mean([structure_valid(a) for a in crystals])
    composition = np.mean([composition_valid(reduced(a)) for a in crystals])
    groups = np.array([space_group(a) for a in crystals])
    unique, novel = distinct(crystals, train)
    test = rows_table("test")
    drawn = test.sample(min(count, len(test)), random_state=SEED)
    atoms = [len(a.numbers) for a in crystals]
    return {
        "samples": count,
        "rejected_percent": 100 * rejected / count,
        "structural_validity_percent": 100 * float(valid),
        "composition_validity_percent": 100 * float(composition),
        "composition_validity_test_percent": 100 * float(np.mean([composition_valid(f) for f in drawn.formula])),
        "p1_percent": 100 * float(np.mean(groups <= 1)),
        "p1_test_percent": 100 * float(np.mean(drawn.spacegroup == 1)),
        "unique_percent": unique,
        "novel_percent": novel,
        "median_atoms": float(np.median(atoms)),
        "elements_mean": float(np.mean([len(set(a.numbers.tolist())) for a in crystals])),
        "elements_mean_test": float(drawn.nelements.mean()),
        "seconds_per_1000": seconds,
    }


def latent(model, count: int) -> dict[str, float]:
    """Judge the latent on the part `test`."""
    known = CrystalsRecipe.read(model, TABLE, "test")
    if len(known) > count:
        known = known.take(np.random.default_rng(SEED).permutation(len(known))[:count])
    z = encoded(model, known.first)
    active = (z.mean.var(0) > 0.01).float().mean()
    figures = {"active_units_percent": 100 * float(active)}
    figures |= {f"{name}_percent": 100 * share for name, share in reconstruction(model, known.first).items()}
    figures["structure_percent"] = structures_again(model, known.take(np.arange(min(300, len(known)))).first)
    for name, r in CrystalsRecipe.residuals(model, known).items():
        error = r.predicted - r.reference
        figures |= {f"{name}_mae": float(np.abs(error).mean())}
        figures |= {f"{name}_r2": 1 - float(np.square(error).sum() / np.square(r.reference - r.reference.mean()).sum())}
        figures |= {f"{name}_inside_68": 100 * float((np.abs(error) <= r.std).mean())}
    return figures | neighbours(z.mean, known.first) | interpolations(model, z.mean, known.first)


def structures_again(model, rows) -> float:
    """Percent of crystals that come back from their latent within the published matcher."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher(**PUBLISHED)
    pairs = zip(built(rows), built(model.decoded(encoded(model, rows).mean, None)), strict=True)
    return 100 * float(np.mean([again is not None and same(one, again, matcher) for one, again in pairs]))


def neighbours(z: torch.Tensor, rows) -> dict[str, float]:
    """Of the ten nearest in the latent, and of any two: how many share group and anonymous formula, and the anion."""
    electronegativity = np.nan_to_num(element_property("Electronegativity"))
    shares = rows.composition.numpy()
    anion = np.where(shares[:, : len(electronegativity)] > 0, electronegativity, -1).argmax(1)
    counts = np.round(np.sort(shares, 1)[:, -MOST_ELEMENTS:], 4)
    kind = np.unique(np.column_stack([rows.groups.numpy(), counts]), axis=0, return_inverse=True)[1].ravel()
    distance = torch.cdist(z, z).fill_diagonal_(float("inf"))
    nearest = distance.topk(10, largest=False).indices.numpy()
    return {
        "nearest_of_same_prototype_percent": 100 * float((kind[nearest] == kind[:, None]).mean()),
        "any_of_same_prototype_percent": 100 * float((kind[:, None] == kind).mean()),
        "nearest_of_same_anion_percent": 100 * float((anion[nearest] == anion[:, None]).mean()),
        "any_of_same_anion_percent": 100 * float((anion[:, None] == anion).mean()),
    }


def interpolations(model, z: torch.Tensor, rows, pairs: int = 100, between: int = 7) -> dict[str, float]:
    """Go from crystal to crystal: how often there is a crystal, and its volume lies between those of the ends."""
    ends = torch.from_numpy(np.random.default_rng(SEED).permutation(len(z))[: 2 * pairs].reshape(-1, 2))
    share = torch.linspace(0, 1, between + 2)[1:-1, None]
    paths = torch.cat([(1 - share) * z[a] + share * z[b] for a, b in ends])
    crystals = built(model.decoded(paths, None))
    volumes = np.array([np.nan if a is None else abs(np.linalg.det(a.cell)) / len(a.numbers) for a in crystals])
    fine = np.isfinite(volumes) & np.array([a is not None and structure_valid(a) for a in crystals])
    volumes = volumes.reshape(-1, between)
    limits = np.sort(np.exp(rows.lattice.numpy()[ends.numpy(), 0]), 1)
    inside = (volumes >= limits[:, :1] * 0.98) & (volumes <= limits[:, 1:] * 1.02)
    paths = [crystals[k : k + between] for k in range(0, len(crystals), between)]
    formulas = [{reduced(a) for a in path if a is not None} for path in paths]
    return {
        "interpolated_valid_percent": 100 * float(fine.mean()),
        "interpolated_volume_between_percent": 100 * float(inside[np.isfinite(volumes)].mean()),
        "interpolated_formulas_a_path": float(np.mean([len(f) for f in formulas])),
    }


def random_search(model, count: int, ranges: dict[str, tuple[float, float]]) -> list:
    """For each crystal the best of `EVALUATIONS` latents of the prior, by what the latent tells."""
    random = torch.Generator().manual_seed(SEED + 2)
    with torch.no_grad():
        z = model.draw_latents(EVALUATIONS * count, random)
        inside = model.inside(*model.properties(z), ranges).reshape(count, EVALUATIONS)
    best = z.reshape(count, EVALUATIONS, -1)[torch.arange(count), inside.argmax(1)]
    return [a for a in built(model.decoded(best, random, Conditions.of(model))) if a is not None]


def hits(model, count: int) -> dict[str, float]:
    """Count how often windows are hit; random search and gradient ask the latent equally often, the range less."""
    figures = {}
    free = model.sample(count, SEED)
    for name, window in WINDOWS.items():
        judge, target = Judge(name), {name: window}
        searches = {
            "unconditional": free,
            "random": random_search(model, count, target),
            "range": model.sample(count, SEED + 1, **target),
            "gradient": [c for c, _ in model.optimize(free, EVALUATIONS, seed=SEED, **target)],
        }
        values = {search: judge(crystals) for search, crystals in searches.items()}
        rates = {search: inside(v, window) for search, v in values.items()}
        figures |= {f"{name}_{search}_percent": rate for search, rate in rates.items()}
        figures |= {f"{name}_{search}_until_ten": until_ten(v, window) for search, v in values.items()}
        figures[f"{name}_judge_mae"] = judge.error
        best = max(rates["range"], rates["gradient"])
        figures[f"{name}_gain"] = best / max(rates["unconditional"], 1e-9)
        figures[f"{name}_gain_on_random"] = best / max(rates["random"], 1e-9)
    return figures


def draw(model, path: str) -> None:
    """Draw the first two principal axes of the latent of the part `test`, by formation energy, gap and anion."""
    from ase_mlx.figures.style import drawn

    known = CrystalsRecipe.read(model, TABLE, "test")
    z = encoded(model, known.first).mean.double().numpy()
    z = z - z.mean(0)
    places = z @ np.linalg.svd(z, full_matrices=False)[2][:2].T
    with drawn(Path(path), (12.5, 4.4)) as figure:
        axes = figure.subplots(1, 3, sharex=True, sharey=True)
        for ax, (name, unit) in zip(
            axes, (("formation_energy", "eV/atom"), ("band_gap", "eV"), ("density", "g/cm³")), strict=True
        ):
            values = known.properties[name]
            there = np.isfinite(values)
            limits = np.nanpercentile(values, [2, 98])
            shown = ax.scatter(
                *places[there].T, c=values[there], s=5, cmap="viridis", vmin=limits[0], vmax=limits[1], linewidths=0
            )
            figure.colorbar(shown, ax=ax, label=f"{name.replace('_', ' ')} ({unit})")
            ax.set(xlabel="first principal axis of the latent", title=name.replace("_", " ").capitalize())
        axes[0].set(ylabel="second principal axis")
        figure.suptitle(
            f"{len(known)} crystals that were not taught, where the encoder puts them",
            x=0.01,
            ha="left",
            fontweight="bold",
        )
    print(f"drawn: {path}")


def table(title: str, rows: dict[str, float]) -> None:
    """Print one figure a line."""
    print(f"\n{title}")
    for name, value in rows.items():
        print(f"  {name.replace('_', ' '):44}{value:12.3f}")


def main() -> int:
    """Judge a generator; 1 where a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="crystals")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--json")
    parser.add_argument("--figure", metavar="FILE", help="draw the latent, and nothing else")
    parser.add_argument("--quick", action="store_true", help="a tenth of all")
    given = parser.parse_args()
    about = machine()
    print_machine(about)
    print(f"seed {SEED}; matcher of reconstructions {PUBLISHED}, of uniqueness and novelty {UNIQUE}; SMACT {STATES}")
    few = 10 if given.quick else 1
    loaded = am.load(given.model)
    model = getattr(loaded, "model", loaded)
    if given.figure:
        draw(model, given.figure)
        return 0
    results: dict[str, dict[str, float]] = {}
    n, prior = given.samples // few, model.diffusion or model.mixture
    steps: tuple[tuple[str, str, Callable[[], dict[str, float]]], ...] = (
        ("round_trip", "Round trip crystal → gene → crystal", lambda: {"matched_percent": round_trip(1000 // few)}),
        ("latent", "Latent, part test", lambda: latent(model, 2000 // few)),
        ("mixture", "Samples of the mixture before any filter", lambda: samples(model, n, model.mixture)),
        ("samples", "Samples of the diffusion before any filter", lambda: samples(model, n, prior)),
        ("hits", "Hits of windows by an independent judge", lambda: hits(model, 300 // few)),
    )
    for key, title, judge in steps:
        results[key] = judge()
        table(title, results[key])
    if given.json:
        Path(given.json).write_text(json.dumps({"machine": about} | results, indent=1), encoding="utf-8")
    drawn, figures = results["samples"], results["latent"]
    share = drawn["composition_validity_percent"] / drawn["composition_validity_test_percent"]
    reached = verdict(
        [
            ("round trip, %", results["round_trip"]["matched_percent"], "≥", 99.0),
            ("structural validity, %", drawn["structural_validity_percent"], "≥", 99.0),
            ("composition validity of that of test", share, "≥", 0.9),
            ("without symmetry (P1), %", drawn["p1_percent"], "≤", 3.0),
            ("seconds per 1,000", drawn["seconds_per_1000"], "≤", 20.0),
            ("active units, %", figures["active_units_percent"], "≥", 50.0),
            ("space group and formula come back, %", figures["both_percent"], "≥", 60.0),
            *(
                (f"hits of {name}, times those {than}", results["hits"][f"{name}_{gain}"], "≥", least)
                for name in WINDOWS
                for than, gain, least in (("without a range", "gain", 3.0), ("of random search", "gain_on_random", 1.5))
            ),
        ]
    )
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
