import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import typer
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from typer.testing import CliRunner

from ase_mlx.adapters.teachers import calculator
from ase_mlx.cli.label import label as command
from ase_mlx.data.io import read_frames, write_frames
from ase_mlx.data.label import label

ROOT = Path(__file__).resolve().parents[2]

FACTORIES = """
import time
from ase.calculators.emt import EMT

class Moody(EMT):
    def calculate(self, atoms=None, *arguments):
        if atoms is not None and atoms.cell[0, 1] > 2.1:
            raise RuntimeError("no convergence after 100 steps")
        super().calculate(atoms, *arguments)

class Slow(EMT):
    def calculate(self, *arguments):
        time.sleep(0.4)
        print("noise on standard output")
        super().calculate(*arguments)

def scaled(seconds=0.0):
    time.sleep(seconds)
    return EMT()
"""


@pytest.fixture
def factories(tmp_path, monkeypatch):
    (tmp_path / "factories.py").write_text(FACTORIES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    yield tmp_path
    sys.modules.pop("factories", None)


def aluminium(n):
    rng = np.random.default_rng(0)
    frames = [bulk("Al", a=3.9 + 0.05 * i, cubic=True) for i in range(n)]
    for i, atoms in enumerate(frames):
        atoms.positions += rng.normal(scale=0.05, size=(4, 3))
        atoms.info["config_name"] = f"al_{i}"
    return frames


def alive(marker):
    """Find processes whose command line holds the marker."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().decode()
            if marker in line and (process / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
                found.append(line)
        except OSError:
            pass
    return found


def test_emt_labels_are_emt(tmp_path):
    frames = aluminium(3)
    label(frames, calculator("ase.calculators.emt:EMT"), tmp_path / "out.extxyz", workers=2)
    labelled = {atoms.info["config_name"]: atoms for atoms in read_frames(tmp_path / "out.extxyz")}
    for atoms in frames:
        atoms.calc = EMT()
        ours = labelled[atoms.info["config_name"]]
        assert ours.calc.results["energy"] == ours.calc.results["free_energy"]
        assert ours.get_potential_energy() == pytest.approx(atoms.get_potential_energy(force_consistent=True), abs=1e-6)
        np.testing.assert_allclose(ours.get_forces(), atoms.get_forces(), atol=1e-6)
        np.testing.assert_allclose(ours.get_stress(), atoms.get_stress(), atol=1e-6)


def test_the_free_energy_is_the_energy_that_is_kept(factories):
    (factories / "smeared.py").write_text(
        "from ase.calculators.emt import EMT\n"
        "class Smeared(EMT):\n"
        "    def calculate(self, *a):\n"
        "        super().calculate(*a)\n"
        "        self.results['free_energy'] = self.results['energy'] - 0.5\n"
    )
    atoms = aluminium(1)[0]
    label([atoms], calculator("smeared:Smeared"), factories / "out.extxyz")
    atoms.calc = EMT()
    labelled = read_frames(factories / "out.extxyz")[0]
    assert labelled.get_potential_energy() == pytest.approx(atoms.get_potential_energy() - 0.5, abs=1e-6)


def test_no_volume_no_stress(tmp_path):
    slab = fcc111("Al", (1, 1, 3), vacuum=5.0)
    water = molecule("H2O")
    label([slab, water], calculator("ase.calculators.emt:EMT"), tmp_path / "out.extxyz")
    with_volume, without = read_frames(tmp_path / "out.extxyz")
    slab.calc = EMT()
    np.testing.assert_allclose(with_volume.get_stress(), slab.get_stress(), atol=1e-7)
    assert "stress" not in without.calc.results and "forces" in without.calc.results


def test_a_teacher_that_fails_midway(factories):
    out = factories / "out.extxyz"
    frames = aluminium(6)
    for i in (2, 4):
        frames[i].cell[0, 1] = 2.15
    report = label(frames, calculator("factories:Moody"), out)
    assert report.done == 4
    assert report.failed == dict.fromkeys(("al_2", "al_4"), "RuntimeError: no convergence after 100 steps")
    assert [atoms.info["config_name"] for atoms in read_frames(out)] == ["al_0", "al_1", "al_3", "al_5"]


def test_killed_in_the_middle_and_started_again(factories):
    out = factories / "out.extxyz"
    write_frames(factories / "in.extxyz", aluminium(6))
    script = (
        "from ase_mlx.adapters.teachers import calculator\n"
        "from ase_mlx.data.io import read_frames\n"
        "from ase_mlx.data.label import label\n"
        "label(read_frames('in.extxyz'), calculator('factories:Slow'), 'out.extxyz', workers=2)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script])
    end = time.time() + 60
    while time.time() < end and not (out.exists() and out.stat().st_size > 1500):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    end = time.time() + 10
    while alive('"factories:Slow"') and time.time() < end:
        time.sleep(0.05)
    assert not alive('"factories:Slow"')
    early = [atoms.info["config_name"] for atoms in read_frames(out)]
    assert 1 <= len(early) < 6
    before = out.read_bytes()
    report = label(read_frames("in.extxyz"), calculator("factories:Slow"), out, workers=2)
    assert (report.kept, report.done) == (len(early), 6 - len(early))
    assert out.read_bytes().startswith(before)
    assert sorted(atoms.info["config_name"] for atoms in read_frames(out)) == [f"al_{i}" for i in range(6)]


def run(*arguments):
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_labels_and_tells(factories):
    write_frames(factories / "in.extxyz", aluminium(2))
    (factories / "emt.toml").write_text("timeout_s = 60\nseconds = 0.01\n")
    given = ("in.extxyz", "--teacher", "factories:scaled", "--config", "emt.toml", "-o", "out.extxyz")
    done = run(*given, "--workers", 2, "--json", "-")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["done"] == 2 and told["failed"] == {} and told["output"] == "out.extxyz"
    again = run(*given)
    assert again.exit_code == 0 and len(read_frames("out.extxyz")) == 2


def test_the_command_ends_with_1_when_a_frame_failed(factories):
    frames = aluminium(2)
    write_frames(factories / "in.extxyz", [frames[0], Atoms("W", cell=[3, 3, 3], pbc=True)])
    done = run("in.extxyz", "--teacher", "ase.calculators.emt:EMT", "-o", "out.extxyz")
    assert done.exit_code == 1 and "No EMT-potential for W" in done.output
    assert len(read_frames("out.extxyz")) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("none.extxyz", "--teacher", "ase.calculators.emt:EMT", "-o", "out.extxyz"), "existing file, extxyz"),
        (("in.extxyz", "--teacher", "oracle", "-o", "out.extxyz"), "oracle"),
        (("in.extxyz", "--teacher", "no_such_module:EMT", "-o", "out.extxyz"), "no_such_module"),
        (("in.extxyz", "--teacher", "ase.calculators.emt:EMT", "-o", "nowhere/out.extxyz"), "existing folder"),
        (("in.extxyz", "--teacher", "ase.calculators.emt:EMT", "-o", "in.extxyz"), "another file for the output"),
        (("in.extxyz", "--teacher", "espresso", "--config", "none.toml", "-o", "out.extxyz"), "none.toml"),
    ],
)
def test_a_wrong_call_ends_with_2(factories, given, said):
    write_frames(factories / "in.extxyz", aluminium(1))
    done = run(*given)
    assert done.exit_code == 2
    assert said in " ".join(done.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("os:system", "builtin_function"),
        ("builtins:eval", "builtin_function"),
        ("builtins:print", "builtin_function"),
        ("os:getcwd", "builtin_function"),
        ("builtins:dict", "class dict"),
        ("os:sep", "which is a str"),
        ("json:dumps", "no arguments"),
        ("factories:scald", "did you mean factories:scaled"),
        ("broken:make", "importing it failed, SyntaxError"),
        (":x", "MODULE:NAME"),
        ("../x:y", "MODULE:NAME"),
        ("x:", "MODULE:NAME"),
        ("a b:c", "MODULE:NAME"),
        ("no_such_module:EMT", "no such module"),
    ],
)
def test_what_makes_no_calculator_is_answered_at_once(factories, name, said):
    write_frames(factories / "in.extxyz", aluminium(1))
    (factories / "broken.py").write_text("def make(:\n")
    done = run("in.extxyz", "--teacher", name, "-o", "out.extxyz")
    assert done.exit_code == 2
    assert said in " ".join(done.output.replace("│", " ").split())
    assert not (factories / "out.extxyz").exists()


def test_a_factory_that_fails_when_called_ends_the_work_and_is_no_failure_of_a_frame(factories):
    (factories / "late.py").write_text(
        "def make():\n    raise RuntimeError('no licence')\ndef nothing():\n    return 3\n"
    )
    for name, said in (("late:make", "no licence"), ("late:nothing", "gives a int")):
        with pytest.raises(ValueError, match=said):
            label(aluminium(3), calculator(name), factories / "out.extxyz")
        assert (factories / "out.extxyz.journal.jsonl").read_text().count("\n") == 1
        (factories / "out.extxyz.journal.jsonl").unlink()


SHADOWS = ("queue", "random", "types", "calendar", "token", "numpy", "ase", "json")


def test_files_of_the_working_folder_hide_nothing(factories):
    for name in SHADOWS:
        (factories / f"{name}.py").write_text(f"open('{name}_was_run', 'w')\nraise RuntimeError('foreign')\n")
    (factories / "own.py").write_text("import factories\ndef make():\n    import beside\n    return factories.EMT()\n")
    (factories / "beside.py").write_text("")
    report = label(aluminium(1), calculator("own:make"), factories / "out.extxyz")
    assert report.done == 1
    assert [name for name in SHADOWS if (factories / f"{name}_was_run").exists()] == []
    for name in ("own", "beside"):
        sys.modules.pop(name, None)


def test_another_file_of_the_factory_is_another_teacher(factories):
    text = "from ase_mlx.adapters.teachers import calculator; print(calculator('factories:scaled').identity)"
    ask = lambda: subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout  # noqa: E731
    before = ask()
    assert ask() == before
    with (factories / "factories.py").open("a") as file:
        file.write("# changed\n")
    assert ask() != before


HOLDS = """
from ase.calculators.emt import EMT
class Holds(EMT):
    def calculate(self, atoms=None, *arguments):
        super().calculate(atoms, *arguments)
        for constraint in atoms.constraints:  # as pw.x does with if_pos
            self.results["forces"][constraint.index] = 0.0
        self.results["energy"] += atoms.info.get("charge", 0) + atoms.get_tags().sum()
        self.results["free_energy"] = self.results["energy"]
"""


def test_held_atoms_have_forces_and_the_teacher_sees_all_that_is_on_the_structure(factories):
    (factories / "holding.py").write_text(HOLDS)
    free = aluminium(1)[0]
    held, charged, tagged = free.copy(), free.copy(), free.copy()
    held.set_constraint(FixAtoms([0, 1]))
    charged.info["charge"] = 1
    tagged.set_tags([0, 2, 0, 0])
    assert label([held, charged, tagged], calculator("holding:Holds"), factories / "out.extxyz").done == 3
    free.calc = EMT()
    energy = free.get_potential_energy(force_consistent=True)
    first, second, third = read_frames(factories / "out.extxyz")
    np.testing.assert_allclose(first.calc.results["forces"], free.get_forces(), atol=1e-6)
    assert first.constraints[0].index.tolist() == [0, 1]
    assert second.get_potential_energy() - energy == pytest.approx(1.0, abs=1e-6)
    assert third.get_potential_energy() - energy == pytest.approx(2.0, abs=1e-6)
