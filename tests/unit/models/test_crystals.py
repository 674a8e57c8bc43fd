"""A generator of crystals: laws of the decoder that hold untrained, conditions, and refusals."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from ase_mlx.descriptors.elements import element_property
from ase_mlx.descriptors.gene_rows import WIDE, genes_of, rows_of
from ase_mlx.descriptors.genes import Gene, Site, gene_of, settings, structure_of
from ase_mlx.descriptors.wyckoff import operations, wyckoff_positions
from ase_mlx.models.crystals import Conditions, Crystals, CrystalsConfig
from ase_mlx.models.crystals.room import Room
from ase_mlx.nn.attention import Block

KNOWN = (3, 8, 11, 12, 17, 31)


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = CrystalsConfig(
        KNOWN, latent=5, width=16, heads=2, layers=2, components=3, most_sites=8, most_atoms=64, mixture=3, members=2,
        properties=("band_gap", "density"),
    )  # fmt: skip
    model = Crystals(config)
    for module in model.modules():
        if isinstance(module, Block):
            torch.nn.init.normal_(module.condition.weight, std=0.2)
    model.property_most.fill_(5.0)
    return model.eval()


def rows(*names):
    made = {"salt": bulk("NaCl", "rocksalt", a=5.6), "oxide": bulk("MgO", "rocksalt", a=4.2), "metal": bulk("Li")}
    return rows_of([gene_of(made[name]) for name in names])


@torch.no_grad()
def test_a_crystal_has_the_same_likelihood_beside_larger_ones(model):
    wide = rows_of([gene_of(bulk("Li")), *settings(bulk("NaCl", "wurtzite", a=4.0, c=6.4))])
    alone, z = rows("metal"), torch.randn(1, 5)
    one = model.decoder.likelihood(z, alone, None)
    many = model.decoder.likelihood(z.expand(len(wide), -1), wide, None)
    for part, whole in zip(one, many, strict=True):
        assert torch.allclose(part, whole[:1], atol=1e-5)
    assert torch.allclose(model.encoder(alone).mean, model.encoder(wide).mean[:1], atol=1e-5)


@torch.no_grad()
def test_the_latent_does_not_depend_on_the_order_of_sites(model):
    row = rows("salt")
    turned = row.take(torch.tensor([0]))
    for name in ("numbers", "positions", "coordinates", "free"):
        getattr(turned, name)[:] = getattr(row, name).flip(1)
    assert torch.allclose(model.encoder(row).mean, model.encoder(turned).mean, atol=1e-6)


@torch.no_grad()
def test_what_is_drawn_is_what_the_likelihood_judges(model):
    """Site by site and all at once, hidden features agree; coordinates do not change those of sites before them."""
    row = rows_of([max(settings(bulk("NaCl", "wurtzite", a=4.0, c=6.4)), key=lambda gene: len(gene.sites))])
    condition = torch.randn(1, 16)
    whole = model.decoder.skeletons(condition, row)
    first = replace(row, **{name: getattr(row, name)[:, :1] for name in WIDE})
    assert torch.allclose(model.decoder.skeletons(condition, first), whole[:, :2], atol=1e-5)
    arrangement = model.decoder.arrangement
    _, sites = arrangement(condition, row)
    placed = arrangement.placed(condition, sites, row)
    moved = replace(row, coordinates=row.coordinates + 0.1 * row.free)
    again = arrangement.placed(condition, sites, moved)
    assert torch.allclose(again[:, 0], placed[:, 0], atol=1e-6)
    assert not torch.allclose(again[:, 1], placed[:, 1], atol=1e-4)


@torch.no_grad()
def test_probabilities_of_first_choices_add_up_to_one(model):
    z, row = torch.randn(1, 5), rows("metal")
    groups = torch.arange(1, 231)
    log = model.decoder.to_group(model.decoder.read(z)).log_softmax(-1)[0]
    assert float(log.exp().sum()) == pytest.approx(1, abs=1e-5)
    assert float(model.decoder.likelihood(z, row, None).group) == pytest.approx(float(log[row.groups[0]]), abs=1e-5)
    assert len(groups) + 1 == len(log)


def test_what_is_generated_has_the_symmetry_that_its_gene_names(model):
    latents, random = torch.randn(30, 5), torch.Generator().manual_seed(2)
    tried = 0
    for gene in genes_of(model.decoded(latents, random, Conditions.of(model, atoms=(1, 40)))):
        try:
            crystal = structure_of(gene)
        except ValueError:  # sites on places of more symmetry; `sample` draws anew
            continue
        places = crystal.positions @ np.linalg.inv(crystal.cell)
        for rotation, translation in zip(*operations(gene.space_group), strict=True):
            away = (places @ rotation.T + translation)[:, None] - places
            away = np.abs(away - np.rint(away)).max(-1)
            same = crystal.numbers[:, None] == crystal.numbers
            assert ((away < 1e-5) & same).any(1).all(), gene
        tried += 1
    assert tried > 15


def test_equal_seeds_give_equal_crystals(model):
    one, two, other = (model.sample(6, seed=s) for s in (1, 1, 2))
    assert all(np.array_equal(a.positions, b.positions) for a, b in zip(one, two, strict=True))
    assert any(
        len(a.numbers) != len(b.numbers) or not np.allclose(a.cell, b.cell) for a, b in zip(one, other, strict=True)
    )


def test_conditions_hold(model):
    for crystal in model.sample(20, elements=["Ga"], allowed=["Ga", "O"], space_group=186, atoms=(4, 30)):
        assert set(crystal.numbers.tolist()) in ({31}, {8, 31}) and 4 <= len(crystal.numbers) <= 30
        assert gene_of(crystal, 1e-3).space_group >= 1
    assert len(model.sample(3, band_gap=(-1.0, 1.0), density=(-1.0, 2.0))) == 3


@pytest.mark.parametrize(
    ("n", "wanted", "words"),
    [
        (0, {}, "got n = 0"),
        (-3, {}, "expected a number of crystals from 1 on"),
        (2, {"elements": ["Ga"], "allowed": ["O", "Li"]}, r"required elements \[31\], which are not among"),
        (2, {"elements": ["Fe"]}, "symbols of those that the model knows"),
        (2, {"elements": "Gallium"}, "symbols of those that the model knows"),
        (2, {"space_group": 231}, "expected a number from 1 to 230"),
        (2, {"atoms": (9, 4)}, "expected a range"),
        (2, {"atoms": 1, "elements": ["Ga", "O"]}, "room for them"),
        (2, {"band_gap": (2.0, 1.0)}, r"expected \(least, most\) in eV"),
        (2, {"band_gap": 1.0}, r"expected \(least, most\) in eV"),
        (2, {"bandgap": (1.0, 2.0)}, "did you mean 'band_gap'"),
    ],
)
def test_conditions_that_cannot_be_are_refused(model, n, wanted, words):
    with pytest.raises(ValueError, match=words):
        model.sample(n, **wanted)


def test_a_range_outside_the_data_is_told(model):
    with pytest.warns(UserWarning, match="lies outside the training data"):
        model.sample(2, band_gap=(7.0, 9.0))


def test_latents_lead_from_one_crystal_to_another(model):
    start, end = bulk("NaCl", "rocksalt", a=5.6), bulk("MgO", "rocksalt", a=4.2)
    path = model.interpolate(start, end, 3)
    z = model.encode([start, end])
    assert np.allclose(path[0].cell, model.decode(z[:1])[0].cell, atol=1e-4)
    assert np.allclose(path[2].cell, model.decode(z[1:])[0].cell, atol=1e-4)
    with pytest.raises(ValueError, match="the two ends"):
        model.interpolate(start, end, 1)


def test_optimising_raises_the_probability_of_what_is_wanted(model):
    start = [bulk("NaCl", "rocksalt", a=5.6)]
    wanted = Conditions.of(model, band_gap=(0.4, 0.6))
    ((_, told),) = model.optimize(start, steps=60, prior=0.0, band_gap=(0.4, 0.6))
    with torch.no_grad():
        mean, std = model.properties(model.encode(start))
        before = float(model.inside(mean, std, wanted.ranges))
    away = lambda value: abs(value - 0.5)  # noqa: E731
    assert away(told["band_gap"][0]) < away(float(mean[0, 0])) or before > 0.5
    with pytest.raises(ValueError, match="got no range of a property"):
        model.optimize(start)


def test_an_unknown_element_is_named(model):
    with pytest.raises(ValueError, match=r"elements \[13\]"):
        model.encode(bulk("Al"))


@pytest.mark.parametrize(
    ("group", "sites", "lattice"),
    [
        (186, ((30, 2), (16, 3)), (3.2, 7.0)),
        (167, ((13, 4), (8, 5)), (4.8, 13.0)),
        (1, ((11, 0), (17, 0)), (4.0, 5.0, 6.5, 62.0, 71.0, 55.0)),
        (12, ((11, 8), (8, 9)), (9.0, 3.4, 6.0, 121.0)),
    ],
)
def test_room_is_what_all_images_leave(group, sites, lattice):
    """The nearest atom of the second site, of 125 cells, its own images among them, wherever both are put."""
    radii, random = element_property("CovalentRadius") / 100, np.random.default_rng(5)
    table, shifts = wyckoff_positions(group), np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3), -1).reshape(-1, 3)
    for _ in range(6):
        free = [random.random(len(table[position].free)) for _, position in sites]
        gene = Gene(group, tuple(Site(z, p, tuple(x)) for (z, p), x in zip(sites, free, strict=True)), lattice)
        row, whole, second = rows_of([gene]), structure_of(gene), table[sites[1][1]]
        coordinates = row.coordinates[0].double().numpy()
        room = Room(row)
        if row.free[0, 0].any():
            room.place(0, coordinates[0])
        here = second.matrix @ coordinates[1] + second.shift
        apart = (whole.positions @ np.linalg.inv(whole.cell) - here)[:, None] + shifts
        length = np.linalg.norm(apart @ whole.cell, axis=-1)
        itself = np.abs(apart - np.rint(apart)).max(-1).min(-1) < 1e-4
        assert itself.sum() == 1
        shares = length.min(1) / (radii[whole.numbers] + radii[sites[1][0]])
        assert room.closest(1, coordinates[1][None])[0] == pytest.approx(shares[~itself].min(), rel=1e-3)


@torch.no_grad()
def test_the_likeliest_crystal_of_a_latent_does_not_depend_on_the_others(model):
    z = torch.randn(6, 5, generator=torch.Generator().manual_seed(3))
    together, alone = model.decoded(z, None), [model.decoded(one[None], None) for one in z]
    for k, one in enumerate(alone):
        row = together.take(torch.tensor([k]))
        assert row.keys == one.keys
        assert torch.allclose(row.coordinates, one.coordinates, atol=1e-4)


def test_sites_are_put_where_there_is_room():
    """Distances are those of ASE, whatever the cell, and crowded places are not taken."""
    crystal = bulk("ZnS", "wurtzite", a=3.8, c=6.2)
    row = rows_of([gene_of(crystal)])
    (gene,) = genes_of(row)
    room, radii = Room(row), element_property("CovalentRadius") / 100
    first, second = (np.array(row.coordinates[0, k].tolist()) for k in (0, 1))
    room.place(0, first)
    whole = structure_of(gene)
    atoms = Atoms(whole.numbers, whole.positions, cell=whole.cell, pbc=True)
    near = atoms.get_all_distances(mic=True)[: len(atoms) // 2, len(atoms) // 2 :].min() / radii[[30, 16]].sum()
    assert room.closest(1, second[None])[0] == pytest.approx(near, rel=1e-6)
    crowded = np.stack([first, second])
    assert room.closest(1, crowded)[0] == pytest.approx(0, abs=1e-6)
    assert (Room(row).choose(0, first[None], None) == first).all()
    assert (room.choose(1, crowded, torch.Generator().manual_seed(0)) == second).all()
    assert len(room.places) == len(atoms)
