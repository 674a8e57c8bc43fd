import json
import sys

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, fcc111
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.emt import EMT
from typer.testing import CliRunner

from ase_mlx.adapters.ase.sampling import Sampling, autocorrelation_time, random_variant, repeated, sample
from ase_mlx.cli import app
from ase_mlx.data.io import read_frames
from ase_mlx.keep import DamagedWarning

QUICK = {"frames": 2, "equilibration": 100.0, "longest": 400.0, "timestep": 4.0}


class Springs(AseCalculator):
    """Every atom in its own harmonic well: canonical averages are known."""

    implemented_properties = ("energy", "forces")

    def __init__(self, sites, stiffness):
        super().__init__()
        self.sites, self.stiffness = sites, stiffness

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        away = atoms.positions - self.sites
        self.results = {"energy": 0.5 * self.stiffness * float((away**2).sum()), "forces": -self.stiffness * away}


def test_autocorrelation_time_of_a_known_process():
    rng, x, decay = np.random.default_rng(0), np.zeros(200000), 0.9
    noise = rng.standard_normal(len(x))
    for k in range(1, len(x)):
        x[k] = decay * x[k - 1] + noise[k]
    # ½ + Σ decay^t
    assert autocorrelation_time(x) == pytest.approx(0.5 + decay / (1 - decay), rel=0.1)
    assert autocorrelation_time(noise) == pytest.approx(0.5, abs=0.1)
    assert autocorrelation_time(np.ones(50)) == 0.5


def test_snapshots_have_the_temperature_they_were_asked_for():
    atoms = repeated(bulk("Cu", cubic=True), (2, 2, 2))
    settings = Sampling((500.0,), frames=20, timestep=4.0, longest=8000.0)
    (frames,) = sample(atoms, Springs(atoms.positions.copy(), 5.0), settings)
    wells = 5.0 * np.mean([np.square(f.positions - atoms.positions).mean() for f in frames])
    free = 1 - 1 / len(atoms)  # the centre of mass is fixed
    assert wells == pytest.approx(units.kB * 500 * free, rel=0.08)
    assert frames[0].info["md_temperature_K"] == pytest.approx(500, rel=0.1)
    assert len({f.info["time_fs"] for f in frames}) == 20
    times = [f.info["time_fs"] for f in frames]
    if "correlated" not in frames[0].info:
        assert np.diff(times).min() >= frames[0].info["decorrelation_fs"] - 20


def test_equal_seeds_give_equal_frames():
    atoms = bulk("Cu", cubic=True)
    settings = Sampling((300.0, 600.0), variants=2, alloy={"Cu": 0.5, "Ni": 0.5}, strain=0.01, **QUICK)
    first, second = (list(sample(atoms, EMT(), settings)) for _ in range(2))
    assert len(first) == 4
    for a, b in zip(sum(first, []), sum(second, []), strict=True):
        assert np.array_equal(a.positions, b.positions)
        assert a.get_potential_energy() == b.get_potential_energy()
    late = list(sample(atoms, EMT(), settings, done=3))
    assert np.array_equal(late[0][1].positions, first[3][1].positions)
    assert not np.array_equal(first[0][0].cell.array, first[2][0].cell.array)


def test_variants_have_what_was_asked_for():
    atoms, rng = repeated(bulk("Cu", cubic=True), (2, 2, 2)), np.random.default_rng(0)
    alloyed = random_variant(atoms, Sampling(alloy={"Cu": 3, "Ni": 1}), rng)
    assert alloyed.symbols.formula.count() == {"Cu": 24, "Ni": 8}
    changed = random_variant(atoms, Sampling(substitutions={"Ni": 2, "Al": 1}, vacancies=3), rng)
    assert changed.symbols.formula.count() == {"Cu": 26, "Ni": 2, "Al": 1}
    assert len(changed) == 29
    with pytest.raises(ValueError, match="no atoms of Si, Ge"):
        random_variant(atoms, Sampling(alloy={"Si": 1, "Ge": 1}), rng)
    with pytest.raises(ValueError, match="repeat the cell"):
        random_variant(bulk("Cu"), Sampling(vacancies=1), rng)


def test_volumes_and_strains_stay_in_bounds():
    atoms = bulk("Cu", cubic=True)
    settings = Sampling(variants=6, volume=0.05, **(QUICK | {"longest": 100.0}))
    volumes = [frames[0].cell.volume / atoms.cell.volume for frames in sample(atoms, EMT(), settings)]
    assert max(np.abs(np.array(volumes) - 1)) <= 0.05
    assert np.ptp(volumes) > 0.01


def test_slab_and_cluster_sample_too():
    slab = fcc111("Cu", (2, 2, 2), vacuum=6)
    (frames,) = sample(slab, EMT(), Sampling(**QUICK))
    assert np.array_equal(frames[0].pbc, slab.pbc)
    cluster = Atoms("Cu3", [[0, 0, 0], [2.2, 0, 0], [0, 2.2, 0]])
    (frames,) = sample(cluster, EMT(), Sampling(**QUICK))
    assert np.isfinite(frames[-1].get_forces()).all()
    with pytest.raises(ValueError, match="single atom"):
        next(sample(Atoms("Cu"), EMT(), Sampling()))


def test_a_run_that_blows_up_says_so():
    atoms = bulk("Cu", cubic=True)
    with pytest.raises(FloatingPointError, match="blew up"):
        list(sample(atoms, Springs(atoms.positions.copy(), -40.0), Sampling(**QUICK)))


@pytest.mark.parametrize(
    "wrong", [{"temperatures": ()}, {"frames": 0}, {"vacancies": -1}, {"timestep": 0.0}, {"volume": 0.9},
              {"alloy": {"Xx": 1.0}}, {"alloy": {"Cu": 0.0}}, {"substitutions": {"Ni": -1}}],
)  # fmt: skip
def test_settings_without_meaning_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        Sampling(**wrong)


@pytest.fixture
def copper(tmp_path):
    bulk("Cu", cubic=True).write(tmp_path / "POSCAR")
    return tmp_path


COMMAND = ["-c", "emt", "-n", "2", "--timestep", "4", "--longest", "1000", "--repeat", "2 1 1"]


def call(folder, *more):
    return CliRunner().invoke(
        app, ["sample", str(folder / "POSCAR"), "-o", str(folder / "out.extxyz"), *COMMAND, *more]
    )


def test_command_goes_on_where_it_was_killed(copper):
    done = call(copper, "-t", "300", "-t", "600", "--alloy", "Cu 1 Ni 1", "--json", str(copper / "x.json"))
    assert done.exit_code == 0, done.output
    whole = read_frames(copper / "out.extxyz")
    assert len(whole) == 4
    assert {a.info["temperature_K"] for a in whole} == {300, 600}
    assert json.loads((copper / "x.json").read_text())["runs"][0]["formula"] == "Cu4Ni4"
    from ase_mlx.data.io import write_frames

    write_frames(copper / "out.extxyz", whole[:2])
    again = call(copper, "-t", "300", "-t", "600", "--alloy", "Cu 1 Ni 1")
    assert again.exit_code == 0, again.output
    for a, b in zip(whole, read_frames(copper / "out.extxyz"), strict=True):
        assert a.positions == pytest.approx(b.positions, abs=1e-6)
        assert a.get_potential_energy() == pytest.approx(b.get_potential_energy(), abs=1e-6)
    other = call(copper, "-t", "400")
    assert other.exit_code == 2
    assert "another call" in " ".join(other.output.replace("│", "").split())
    assert len(read_frames(copper / "out.extxyz")) == 4


STRONG = """
from ase.calculators.emt import EMT
class Strong(EMT):
    def calculate(self, *arguments):
        super().calculate(*arguments)
        for name in ("energy", "free_energy", "forces"):
            self.results[name] = self.results[name] * self.strength
def soft():
    made = Strong(); made.strength = 1.0; return made
def hard():
    made = Strong(); made.strength = 2.0; return made
"""


def test_frames_of_one_calculator_are_not_another_ones_and_damaged_ones_are_done_again(copper, monkeypatch):
    (copper / "strong_emt.py").write_text(STRONG)
    monkeypatch.chdir(copper)
    assert call(copper, "-c", "strong_emt:soft").exit_code == 0
    out = copper / "out.extxyz"
    whole = out.read_bytes()
    for other in ("strong_emt:hard", "emt"):
        refused = call(copper, "-c", other)
        assert refused.exit_code == 2
        assert "with another calculator" in " ".join(refused.output.replace("│", "").split())
        assert out.read_bytes() == whole
    again = call(copper, "-c", "strong_emt:soft")
    assert again.exit_code == 0 and out.read_bytes() == whole
    lines = whole.split(b"\n")
    lines[-2] = lines[-2].replace(b"0.", b"1.", 1)  # a coordinate or force of the last frame
    out.write_bytes(b"\n".join(lines))
    with pytest.warns(DamagedWarning, match="frame 2 is not what was written"):
        mended = call(copper, "-c", "strong_emt:soft")
    assert mended.exit_code == 0, mended.output
    assert out.read_bytes() == whole
    sys.modules.pop("strong_emt", None)


@pytest.mark.parametrize(
    ("more", "says"),
    [(["--alloy", "Cu"], "in turn"), (["--repeat", "2 2"], "three whole numbers"), (["-c", "nothing"], "nothing"),
     (["--substitute", "Ni 1.5"], "whole"), (["--vacancies", "9"], "repeat the cell")],
)  # fmt: skip
def test_wrong_calls_are_named(copper, more, says):
    done = call(copper, *more)
    assert done.exit_code == 2, done.output
    assert says in " ".join(done.output.replace("│", "").split())
