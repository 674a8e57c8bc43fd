from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_potential
from tiny_density import tiny_points

from ase_mlx import pretrained
from ase_mlx.adapters.checkpoints import read_checkpoint
from ase_mlx.models import Generates, Model, Prediction
from ase_mlx.models.mechanics import sum_by_graph
from ase_mlx.models.sevennet import SevenNet
from ase_mlx.quantities import Quantity
from ase_mlx.structure import Structure
from ase_mlx.testing import GEOMETRIES, LAWS, TOLERANCES, LawBroken, build, check_model, in_dtype, meaningful
from ase_mlx.testing.laws import dtype_of

FRESH = {
    f"l_max={l}{', products' if products else ''}, {layers} layers": (l, products, layers)
    for l, products, layers in [(0, False, 1), (0, True, 2), (1, False, 2), (1, True, 3), (2, False, 3), (2, True, 2)]
}


FILES = {"Nequix": "nequix/plain.nqx", "Nequix by species": "nequix/species.nqx", "SevenNet": "sevennet/small.pth"}
IMPORTED = {name: Path(__file__).parents[1] / "reference" / "data" / file for name, file in FILES.items()}
POTENTIALS = [card["name"] for card in pretrained.available() if "forces" in card["outputs"]]
CASES = [
    pytest.param((name, dtype), marks=() if (k + j) % 2 == 0 else pytest.mark.slow, id=f"{name}-{dtype}")
    for k, name in enumerate([*POTENTIALS, *IMPORTED, *FRESH])
    for j, dtype in enumerate(TOLERANCES)
]


@pytest.fixture(scope="module")
def model(request):
    name, dtype = request.param
    if name in IMPORTED:
        return in_dtype(read_checkpoint(IMPORTED[name]), dtype)
    return in_dtype(tiny_potential(*FRESH[name]) if name in FRESH else pretrained.load(name), dtype)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("model", CASES, indirect=True)
def test_law_holds_on_every_geometry(model, law):
    sharp = dtype_of(model) == "float64"
    if isinstance(model, SevenNet) and (law == "mirror" or law == "forces" and sharp):
        with pytest.raises(LawBroken):  # couplings of both parities; finite differences see the kink of XPLOR's slope
            check_model(model, laws=[law])
        return
    assert check_model(model, laws=[law]) == sum(meaningful(law, g) for g in GEOMETRIES) >= 3


class Broken(Model):
    """A sound potential with one thing wrong."""

    def __init__(self, fault):
        super().__init__()
        self.sound = tiny_potential(members=0 if fault is zero_error_bar else 4)
        self.outputs, self.cutoff, self.elements = self.sound.outputs, self.sound.cutoff, self.sound.elements
        self.fault = fault

    def forward(self, graph, points=None):
        return self.changed(self.sound(graph), graph)

    def with_std(self, graph):
        return self.changed(self.sound.with_std(graph), graph)

    def with_members(self, graph):
        return self.changed(self.sound.with_members(graph), graph)

    def changed(self, p, graph):
        values, std, members = dict(p), dict(p.std), dict(p.members)
        self.fault(graph, values, std, members)
        return Prediction(values, std, members)


def add(graph, values, per_atom):
    values["energies"] = values["energies"] + per_atom
    values["energy"] = sum_by_graph(graph, values["energies"])


def prefers_x(graph, values, std, members):
    push = graph.vectors()[:, 0].square() * 1e-3
    add(graph, values, torch.zeros_like(values["energies"]).index_add(0, graph.center, push))


def is_handed(graph, values, std, members):
    d = graph.vectors()
    r = d.norm(dim=1, keepdim=True)
    moments = [
        d.new_zeros(len(graph.numbers), 3).index_add(0, graph.center, d * torch.exp(-((r - x) ** 2))) for x in (2, 3, 4)
    ]
    add(graph, values, torch.linalg.det(torch.stack(moments, dim=1)))


def knows_where_it_is(graph, values, std, members):
    add(graph, values, 1e-3 * graph.positions[:, 0])


def reads_labels(graph, values, std, members):
    add(graph, values, 1e-3 * torch.arange(len(graph.numbers)))


def counts_images(graph, values, std, members):
    add(graph, values, values["energies"].new_zeros(len(graph.numbers)).index_add(
        0, graph.center, 1e-3 * graph.shift.abs().sum(1).to(torch.float64)
    ))  # fmt: skip


def has_a_constant(graph, values, std, members):
    values["energy"] = values["energy"] + 0.1


def feels_the_batch(graph, values, std, members):
    values["forces"] = values["forces"] * (1 + 1e-3 * graph.n_graphs)


def ends_abruptly(graph, values, std, members):
    add(graph, values, values["energies"].new_zeros(len(graph.numbers)).index_add(
        0, graph.center, torch.full((len(graph.center),), 0.05, dtype=torch.float64)
    ))  # fmt: skip


def ends_with_a_kink(graph, values, std, members):
    push = 0.05 * graph.vectors() / graph.vectors().norm(dim=1, keepdim=True)
    values["forces"] = values["forces"].index_add(0, graph.center, push)


def writes_into_its_input(graph, values, std, members):
    graph.positions.add_(0.1)


def forces_too_large(graph, values, std, members):
    values["forces"] = 1.05 * values["forces"]


def divides_by_a_wrong_volume(graph, values, std, members):
    if "stress" in values:
        values["stress"] = values["stress"] / torch.where(graph.pbc.all(1), 1.0, 18.0)[:, None]


def always_has_a_stress(graph, values, std, members):
    values["stress"] = values.get("stress", torch.zeros(graph.n_graphs, 6, dtype=torch.float64))


def energies_do_not_sum(graph, values, std, members):
    values["energies"] = values["energies"] + 1e-2


def stresses_do_not_sum(graph, values, std, members):
    if "stresses" in values:
        values["stresses"] = values["stresses"] / len(graph.numbers)


def members_are_off(graph, values, std, members):
    if "energy" in members:
        members["energy"] = members["energy"] + 0.1


def members_share_forces(graph, values, std, members):
    if "forces" in members:
        members["forces"] = members["forces"].mean(0).expand_as(members["forces"])


def error_bars_change_the_answer(graph, values, std, members):
    if std:
        values["energy"] = values["energy"] + 0.1


def zero_error_bar(graph, values, std, members):
    std["energy"] = torch.zeros_like(values["energy"])


def error_bar_of_nothing(graph, values, std, members):
    std["charge"] = torch.ones(graph.n_graphs)


FAULTS = [
    ("rotation", prefers_x),
    ("mirror", is_handed),
    ("translation", knows_where_it_is),
    ("permutation", reads_labels),
    ("lattice shift", counts_images),
    ("extensivity", has_a_constant),
    ("batch equals loop", feels_the_batch),
    ("smooth at the cutoff", ends_abruptly),
    ("smooth at the cutoff", ends_with_a_kink),
    ("unmutated input", writes_into_its_input),
    ("forces", forces_too_large),
    ("stress", divides_by_a_wrong_volume),
    ("stress", always_has_a_stress),
    ("sums", energies_do_not_sum),
    ("sums", stresses_do_not_sum),
    ("members", members_are_off),
    ("members", members_share_forces),
    ("members", error_bars_change_the_answer),
    ("error bars", zero_error_bar),
    ("error bars", error_bar_of_nothing),
]


def test_every_law_has_a_fault_that_breaks_it():
    assert {law for law, _ in FAULTS} == set(LAWS)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(("law", "fault"), FAULTS, ids=lambda x: getattr(x, "__name__", x))
def test_broken_model_breaks_its_law(law, fault, dtype):
    with pytest.raises(LawBroken, match=f"law '{law}'") as caught:
        check_model(Broken(fault), dtype, laws=[law])
    assert caught.value.dtype == dtype
    assert caught.value.geometry in str(caught.value)
    assert not caught.value.deviation <= caught.value.tolerance


def test_a_handed_model_still_turns():
    assert check_model(Broken(is_handed), "float64", laws=["rotation"], geometries=["molecule"]) == 1


def test_wrong_volume_of_a_slab_is_found_on_the_slab_alone():
    broken = Broken(divides_by_a_wrong_volume)
    assert check_model(broken, "float64", laws=["stress"], geometries=[g for g in GEOMETRIES if g != "slab"])
    with pytest.raises(LawBroken, match="slab"):
        check_model(broken, "float64", laws=["stress"], geometries=["slab"])


def test_geometries_are_what_their_names_say():
    model = tiny_potential()
    crystals = {name: build(name, model) for name in GEOMETRIES}
    one = {name: c[0] for name, c in crystals.items()}
    assert len(crystals["two-crystal batch"]) == 2
    assert np.linalg.det(one["left-handed cell"].cell) < 0 < np.linalg.det(one["triclinic"].cell)
    assert np.linalg.norm(one["primitive cell smaller than the cutoff"].cell, axis=1).max() < model.cutoff
    skewed = one["strongly skewed cell"].cell
    cosines = (skewed / np.linalg.norm(skewed, axis=1)[:, None]) @ (skewed / np.linalg.norm(skewed, axis=1)[:, None]).T
    assert np.abs(cosines[np.triu_indices(3, 1)]).max() > 0.9
    assert (
        np.abs(np.linalg.solve(one["unwrapped positions"].cell.T, one["unwrapped positions"].positions.T)).max() > 1.5
    )
    assert one["slab"].pbc.tolist() == [True, True, False] and one["slab"].volume > 0
    assert one["wire"].pbc.tolist() == [False, False, True] and one["wire"].volume == 0
    assert [len(one[g].numbers) for g in ("one atom", "isolated pair", "molecule")] == [1, 2, 5]
    for c in (x for pair in crystals.values() for x in pair):
        assert set(c.numbers) <= set(model.elements)


def test_unknown_dtype_is_refused():
    with pytest.raises(ValueError, match="float16.*expected one of float64, float32"):
        in_dtype(tiny_potential(), "float16")


class Crystalline(Model):
    """No energy: numbers of crystals and atoms, one vector and one tensor; molecules are refused."""

    outputs = (
        Quantity("packing", "graph", (), 1, "dimensionless"),
        Quantity("dipole", "atom", (3,), -1, "Å"),
        Quantity("gyration", "graph", (3, 3), 1, "Å²"),
    )
    cutoff, elements = 4.0, (14, 32)

    def __init__(self, fault=None):
        super().__init__()
        self.fault = fault

    def forward(self, graph):
        if not bool(graph.pbc.all()):
            raise ValueError("got a molecule, expected a crystal")
        d = graph.vectors()
        weight = (1 - d.square().sum(1, keepdim=True) / self.cutoff**2).clamp_min(0) ** 3
        zeros = d.new_zeros(len(graph.numbers), 3)
        dipole = zeros.index_add(0, graph.center, d * weight)
        counts = d.new_zeros(graph.n_graphs).index_add(0, graph.atom_graph[graph.center], weight[:, 0])
        outer = d[:, :, None] * d[:, None] * weight[:, :, None]
        gyration = d.new_zeros(graph.n_graphs, 3, 3).index_add(0, graph.atom_graph[graph.center], outer)
        values = {"packing": counts, "dipole": dipole, "gyration": gyration}
        return Prediction(values if self.fault is None else self.fault(values))

    with_std = forward


def test_a_model_without_energies_is_tried_on_what_it_gives():
    count = check_model(Crystalline())
    assert count > 40
    assert check_model(Crystalline(), laws=["rotation", "forces"], geometries=["fcc", "molecule"]) == 1
    for law, fault in (
        ("rotation", lambda p: p | {"dipole": p["dipole"] + p["packing"][0] * torch.eye(3, dtype=torch.float64)[0]}),
        ("mirror", lambda p: p | {"dipole": p["dipole"].abs()}),
        ("rotation", lambda p: p | {"gyration": p["gyration"] * torch.arange(1.0, 4)}),
        ("permutation", lambda p: p | {"dipole": p["dipole"] * torch.arange(1.0, 1 + len(p["dipole"]))[:, None]}),
    ):
        with pytest.raises(LawBroken, match=law):
            check_model(Crystalline(fault), laws=[law])
    with pytest.raises(ValueError, match="none of these laws says anything"):
        check_model(Crystalline(), laws=["forces"])


@pytest.mark.parametrize("name", ["bhnaa", "formation_energy"])
def test_shipped_models_of_crystals_keep_the_laws(name):
    laws = ["rotation", "permutation", "error bars", "unmutated input"]
    assert check_model(pretrained.load(name), "float64", laws, ["fcc", "triclinic", "molecule"]) == 8


def test_the_shipped_generator_keeps_the_laws():
    assert check_model(pretrained.load("crystals")) == 2
    assert {"crystals", "bhnaa", "formation_energy", *POTENTIALS} == set(pretrained.names())


class Lattices(torch.nn.Module, Generates):
    elements = (14,)

    def __init__(self, fault=""):
        super().__init__()
        self.fault = fault

    def sample(self, n, seed=0):
        seed = {"deaf": 0, "forgetful": None}.get(self.fault, seed)
        lengths = np.random.default_rng(seed).uniform(3, 5, n)
        number = np.array([13 if self.fault == "alchemist" else 14])
        return [Structure(number, np.zeros((1, 3)), a * np.eye(3), np.ones(3, bool)) for a in lengths]


def test_generators_are_held_to_their_seeds_and_elements():
    assert check_model(Lattices()) == 2
    for fault in ("deaf", "forgetful", "alchemist"):
        with pytest.raises(LawBroken):
            check_model(Lattices(fault))


def test_densities_are_tried_too():
    assert check_model(tiny_points(), laws=["rotation", "permutation"], geometries=["fcc", "molecule"]) == 4
