from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_density import tiny_density, tiny_points

from ase_mlx import pretrained
from ase_mlx.graph import from_atoms
from ase_mlx.testing import DENSITY_LAWS, LawBroken, build, density_geometries, in_dtype

SHIPPED = [name for name in pretrained.names() if "density" in {q.name for q in pretrained.load(name).outputs}]
FRESH = {"l_max=4": {}, "l_max=1": {"l_max": 1}}
POINTWISE = "point by point"
OFTEN = {"sigesn": "float64", "al": "float32", "l_max=4": "float64", "l_max=1": "float32", POINTWISE: "float64"}
CASES = [
    pytest.param(
        (name, dtype), marks=() if dtype == OFTEN.get(name, "float64") else pytest.mark.slow, id=f"{name}-{dtype}"
    )
    for name in [*SHIPPED, *FRESH, POINTWISE]
    for dtype in ("float64", "float32")
]


@pytest.fixture(scope="module")
def model(request):
    name, dtype = request.param
    if name == POINTWISE:
        return in_dtype(tiny_points(), dtype)
    return in_dtype(tiny_density(**FRESH[name]) if name in FRESH else pretrained.load(name), dtype)


@pytest.mark.filterwarnings("ignore:got .* in values of the density below zero")  # of models that nobody trained
@pytest.mark.parametrize("law", DENSITY_LAWS)
@pytest.mark.parametrize("model", CASES, indirect=True)
def test_law_holds_on_every_geometry(model, law):
    geometries = density_geometries(law)
    assert len(geometries) >= 7
    for geometry in geometries:
        DENSITY_LAWS[law](model, geometry)


@pytest.mark.filterwarnings("ignore:got .* (electrons on the grid|values of the density below zero)")  # they say it too
def test_laws_see_what_breaks_them(monkeypatch):
    model = in_dtype(tiny_density(), "float64")
    sound = type(model).conditioned

    def lopsided(self, graph, charge=0.0):
        found = sound(self, graph, charge)
        return replace(found, source=lambda atoms: found.source(atoms) + 0.1 * torch.eye(25, 4)[None, :, [1, 2, 3, 0]])

    def charged(self, graph, charge=0.0):
        return sound(self, graph, 0.01)

    def by_number(self, graph, charge=0.0):
        found = sound(self, graph, charge)
        scale = lambda atoms: torch.from_numpy(1 + 0.1 * (atoms == 0))[:, None, None]  # noqa: E731
        return replace(found, source=lambda atoms: found.source(atoms) * scale(atoms))

    for fault, laws in (
        (lopsided, ("rotation", "mirror")), (charged, ("electrons",)), (by_number, ("permutation", "extensivity"))
    ):  # fmt: skip
        monkeypatch.setattr(type(model), "conditioned", fault)
        for law in laws:
            with pytest.raises(LawBroken, match=law):
                DENSITY_LAWS[law](model, "triclinic")


def test_shipped_models_have_a_density():
    assert {"sigesn", "al"} <= set(SHIPPED)


def test_density_of_a_neutral_crystal_is_positive_where_atoms_are():
    model = pretrained.load("al")
    (crystal,) = build("fcc", model)
    values = model.conditioned(from_atoms(crystal, model.cutoff)).electrons()
    assert (values > 1).all()
    assert np.isfinite(values).all()
