import json
import os
import signal
import sys
import time
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pandas as pd
import pytest
from commands import call, start
from tiny_anomaly import TARGETS, crystals, save_tiny, screen_here, table, tiny_anomaly

from ase_mlx.data.tables import open_table
from ase_mlx.descriptors import NAMES, STRUCTURE
from ase_mlx.jobs.screening import unit_note
from ase_mlx.keep import DamagedWarning
from ase_mlx.learn.anomaly.crystals import describe_crystals
from ase_mlx.learn.config import TableFit
from ase_mlx.learn.recipes.anomaly import train_anomaly
from ase_mlx.models.anomaly import MOST, AnomalyConfig
from ase_mlx.models.crystal_property import CrystalPropertyConfig
from ase_mlx.screen.ranges import done_ranges, open_job, run_local, write_results
from ase_mlx.screen.scores import Screening, described, screen

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-c", "from ase_mlx.cli import main; main()", "screen"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model"))


def spoiled(rows=40):
    frame = table().iloc[:rows].copy()
    frame.at[3, "frac_coords"] = frame.frac_coords[3][:-3]
    frame.at[5, "numbers"] = np.array([*frame.numbers[5][:-1], 118])
    frame.at[7, "frac_coords"] = np.tile(frame.frac_coords[7][:3], len(frame.numbers[7]))
    frame.at[9, "lattice"] = None
    frame.at[11, "lattice"] = np.asarray(frame.lattice[11]) / 10  # nm
    return frame


def test_every_row_comes_back_with_numbers_or_a_reason():
    model = tiny_anomaly().double()
    (found,) = screen([spoiled()], model, Screening("novelty"), keep=("material_id",))
    assert list(found.material_id) == list(spoiled().material_id)
    reasons = found.problem[found.problem.notna()]
    assert list(reasons.index) == [3, 5, 7, 9, 11]
    for place, text in ((3, "arrays were probably cut"), (5, "Og"), (7, "same place"), (9, "without a structure"),
                        (11, "lattice in Å")):  # fmt: skip
        assert text in reasons[place]
    good = found[found.problem.isna()]
    assert np.isfinite(good.anomaly_score).all() and found.anomaly_score[reasons.index].isna().all()
    assert (good.anomaly_probability.between(0, 1)).all() and (good.anomaly_score_std > 0).all()
    assert all(len(names) == 5 for names in good.top_descriptors)


@pytest.mark.parametrize("mode", ["novelty", "supervised_tail", "residual"])
def test_cutting_the_table_changes_no_bit(mode):
    model = tiny_anomaly().double()
    wanted = Screening(mode, "formation_energy" if mode == "residual" else None)
    (whole,) = screen([spoiled()], model, wanted)
    pieces = pd.concat(screen((spoiled().iloc[k : k + 7] for k in range(0, 40, 7)), model, wanted), ignore_index=True)
    pd.testing.assert_frame_equal(whole, pieces, check_exact=True)


def test_only_so_many_atoms_are_described_at_once(monkeypatch):
    model, frame = tiny_anomaly().double(), table().iloc[:40]
    (whole,) = screen([frame], model, Screening("novelty"))
    sizes, described_by = [], type(model.property).described
    monkeypatch.setattr("ase_mlx.screen.scores.ATOMS", 50)
    monkeypatch.setattr(
        type(model.property), "described", lambda self, g: (sizes.append(len(g.numbers)), described_by(self, g))[1]
    )
    (parts,) = screen([frame], model, Screening("novelty"))
    pd.testing.assert_frame_equal(whole, parts, check_exact=True)
    assert len(sizes) > 3 and max(sizes) <= 50 + frame.nsites.max() and sum(sizes) == frame.nsites.sum()


def test_novelty_is_the_sum_of_its_contributions():
    model, known = tiny_anomaly().double(), crystals()
    score = model.table(known.rows, known.anions)[1]["novelty"].score
    np.testing.assert_allclose(model.contributions(known.rows, "novelty").sum(1), score, atol=1e-12)
    held = np.arange(220, 300)  # calibrated in single precision
    assert abs(score[held].mean()) < 1e-6 and score.max() < MOST - model.usual.numpy().min()


def test_descriptors_as_a_column_give_the_same():
    model = tiny_anomaly().double()
    (direct,) = screen([spoiled()], model, Screening("novelty"))
    (later,) = screen([described(spoiled(), model)[["numbers", "descriptors", "problem"]]], model, Screening("novelty"))
    pd.testing.assert_frame_equal(direct, later, check_exact=True)


def test_a_measured_pattern_may_take_the_place_of_a_structure():
    known = describe_crystals(table().iloc[:60], TARGETS, diffraction=True)
    sizes = CrystalPropertyConfig(TARGETS, known.elements, members=2, width=8, hyper_width=8, diffraction=True)
    fit = TableFit(2, batch_size=20)
    model = train_anomaly(known.take(np.arange(40)), known.take(np.arange(40, 60)), AnomalyConfig(sizes, 1, 8), fit)
    frame = described(table().iloc[40:60].reset_index(drop=True), model.double())[["numbers", "descriptors", "problem"]]
    assert len(frame.descriptors[0]) == sum(sizes.blocks)
    frame.at[3, "descriptors"] = model.property.without_others(known.rows[43:44], "pattern")
    (tail,) = screen([frame], model, Screening("supervised_tail"))
    assert tail.problem.isna().all() and np.isfinite(tail.anomaly_score).all()
    assert not set(tail.top_descriptors[3]) & set(NAMES[STRUCTURE:])
    (novel,) = screen([frame], model, Screening("novelty"))
    assert list(novel.problem[novel.problem.notna()].index) == [3] and novel.anomaly_score.isna().sum() == 1
    assert novel.problem[3].startswith("got no structure, expected one: novelty is that of structures; ask")
    assert tail.top_descriptors.map(len).eq(5).all()
    frame.at[3, "descriptors"], frame.at[4, "descriptors"] = known.rows[43, :9], known.rows[43:46]
    frame.at[5, "descriptors"] = np.where(np.arange(known.rows.shape[1]) == STRUCTURE, np.nan, known.rows[45])
    (tail,) = screen([frame], model, Screening("supervised_tail"))
    assert list(tail.problem[tail.problem.notna()].index) == [3, 4, 5]
    expected = f"got descriptors of shape (1, 9), expected (crystals, {sum(sizes.blocks)}); take them from `described`"
    assert tail.problem[3] == expected
    assert tail.problem[5].startswith("got 1 crystals with descriptors that are no numbers")
    no_structure = model.property.without_others(known.rows[40:], "composition")
    frame = frame.assign(descriptors=list(no_structure))
    (tail,) = screen([frame], model, Screening("supervised_tail"))
    (novel,) = screen([frame], model, Screening("novelty"))
    assert tail.problem.isna().all() and novel.problem.notna().all()


def test_residual_knows_which_energies_were_changed():
    model = tiny_anomaly().double()
    frame = table().iloc[:60].assign(reported=lambda f: f.formation_energy)
    frame.loc[10, "reported"] += 6.0
    frame.loc[20, "reported"] = np.nan
    (found,) = screen([frame], model, Screening("residual", "reported"))
    assert found.anomaly_score.abs().idxmax() == 10 and found.anomaly[10]
    assert "no number in 'reported'" in found.problem[20]
    with pytest.raises(ValueError, match="column of reported"):
        Screening("residual")


def test_gross_errors_are_the_surest_and_gaps_are_rows_without_scores(tmp_path, folder):
    frame = table().iloc[:40].assign(reported=lambda f: f.formation_energy.astype(str))
    frame.loc[[4, 5, 6, 7], "reported"] = ["-999", "30", "12", "-"]
    frame.drop(columns=["formation_energy", "hull_distance"]).to_parquet(tmp_path / "t.parquet")
    out = tmp_path / "out"
    done = call(
        tmp_path,
        "screen",
        tmp_path / "t.parquet",
        "--mode",
        "residual",
        "--reported",
        "reported",
        "-m",
        folder,
        "-o",
        out,
    )
    assert done.returncode == 0, done.stderr
    found = pd.read_parquet(out / "results.parquet")
    assert found["rank"][[4, 5, 6]].tolist() == [1, 2, 3] and (found.anomaly_probability[[4, 5, 6]] == 1).all()
    assert "no number in 'reported'" in found.problem[7] and found.problem.isna().sum() == 39


def test_formats_give_the_same_rows(tmp_path, folder):
    model = tiny_anomaly().double()
    frame = table().iloc[:6]
    atoms = [
        ase.Atoms(n, cell=np.reshape(c, (3, 3)), scaled_positions=np.reshape(f, (-1, 3)), pbc=True)
        for n, c, f in zip(frame.numbers, frame.lattice, frame.frac_coords, strict=True)
    ]
    lists = {c: [json.dumps(np.asarray(v).tolist()) for v in frame[c]] for c in ("lattice", "numbers", "frac_coords")}
    frame.assign(**lists).to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    ase.io.write(tmp_path / "a.extxyz", atoms)
    with ase.db.connect(tmp_path / "a.db") as database:
        [database.write(a) for a in atoms]
    (tmp_path / "files").mkdir()
    [ase.io.write(tmp_path / "files" / f"{k}.vasp", a, direct=True, sort=False) for k, a in enumerate(atoms)]
    (tmp_path / "parts").mkdir()
    [frame.iloc[k : k + 2].to_parquet(tmp_path / "parts" / f"{k}.parquet") for k in (0, 2, 4)]
    scores = {}
    for name in ("a.parquet", "a.csv", "a.extxyz", "a.db", "files", "parts"):
        opened = open_table(tmp_path / name)
        assert opened.count == 6
        found = pd.concat(screen(opened.chunks(4), model, Screening("novelty")))
        assert found.problem.isna().all(), found.problem.tolist()
        scores[name] = found.anomaly_score.to_numpy()
    for name, values in scores.items():
        np.testing.assert_allclose(values, scores["a.parquet"], atol=2e-4, err_msg=name)


def test_what_cannot_be_read_is_a_row_with_a_reason(tmp_path):
    cif = "data_x\n_cell_length_a 4\n_cell_length_b 4\n_cell_length_c 4\n_cell_angle_alpha 90\n_cell_angle_beta 90\n"
    cif += "_cell_angle_gamma 90\nloop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n"
    cif += "_atom_site_fract_y\n_atom_site_fract_z\n_atom_site_occupancy\nFe1 Fe 0 0 0 0.5\nCo1 Co 0 0 0 0.5\n"
    pd.DataFrame({"id": ["mixed", "nonsense"], "cif": [cif, "hello"]}).to_csv(tmp_path / "c.csv", index=False)
    (frame,) = open_table(tmp_path / "c.csv").chunks(10)
    assert "partial occupancy" in frame.problem[0] and "could not be read" in frame.problem[1]


def test_damaged_parts_cost_only_themselves(tmp_path):
    table().iloc[:3].to_parquet(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 nothing")
    opened = open_table(tmp_path)
    assert opened.count == 3 and "damaged" in opened.problems["b.parquet"]


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda p: p / "missing.parquet", "does not exist"),
        (lambda p: _write(p, table().iloc[:0]), "without a single row"),
        (lambda p: _write(p, table().iloc[:2].drop(columns="numbers")), "without the columns numbers"),
        (lambda p: _write(p, table().iloc[:2].assign(anomaly_score=1.0)), "already has anomaly_score"),
    ],
)
def test_wrong_tables_are_wrong_calls(tmp_path, folder, make, said):
    from typer.testing import CliRunner

    from ase_mlx.cli import app

    result = CliRunner().invoke(app, ["screen", str(make(tmp_path)), "-m", str(folder), "-o", str(tmp_path / "out")])
    assert result.exit_code == 2 and "".join(said.split()) in "".join(result.output.replace("│", " ").split())


def _write(folder, frame):
    frame = frame.rename(columns={"formation_energy": "reported", "hull_distance": "e_hull"})
    frame.to_parquet(folder / "t.parquet")
    return folder / "t.parquet"


def test_units_are_noticed():
    energy = np.linspace(-3, -0.5, 30)
    assert unit_note(energy * 1.05, energy) is None
    assert "Ry" in unit_note(energy / 13.6, energy) and "whole cell" in unit_note(energy * 14, energy)
    assert "kJ/mol" in unit_note(energy * 96.5, energy) and "whole cell" in unit_note(energy * 8, energy)


@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, 3])
def test_a_killed_job_ends_as_one_never_stopped(tmp_path, folder, kills):
    copies = 2 * (kills + 1)  # of 300 rows; 512 are computed and kept together
    source = _write(tmp_path, pd.concat([table()] * copies, ignore_index=True).assign(id=range(300 * copies)))
    straight = open_job(open_table(source), folder, Screening("novelty"), tmp_path / "straight")
    run_local(straight, kills)
    write_results(straight)
    out = tmp_path / "killed"
    arguments = [source, "-m", folder, "-o", out, "--suggest", "3", "--workers", kills]
    before = 0
    for _ in range(kills):
        with start(tmp_path, "screen", *arguments) as process:
            while process.poll() is None and len(list((out / "work").glob("rows-*"))) <= before:
                time.sleep(0.05)
            os.killpg(process.pid, signal.SIGKILL)
        before = len(list((out / "work").glob("rows-*")))
    assert 0 < before
    finished = call(tmp_path, "screen", *arguments)
    assert finished.returncode == 0, finished.stderr
    pd.testing.assert_frame_equal(
        pd.read_parquet(out / "results.parquet"), pd.read_parquet(tmp_path / "straight" / "results.parquet"),
        check_exact=True,
    )  # fmt: skip
    assert {"suggestions.csv", "scores.png", "contributions.png"} <= {p.name for p in out.iterdir()}
    assert pd.read_parquet(out / "results.parquet")["rank"].dropna().is_unique


def test_damaged_rows_are_named_and_screened_again(tmp_path, folder):
    source = _write(tmp_path, pd.concat([table()] * 3, ignore_index=True).assign(id=range(900)))
    job = open_job(open_table(source), folder, Screening("novelty"), tmp_path / "out")
    screen_here(job)
    before = pd.read_parquet(write_results(job))
    (first, last, path), *_ = done_ranges(job)
    whole = path.read_bytes()
    for damage in (whole[:-30], b"junk", whole[:900] + bytes(50) + whole[950:]):
        path.write_bytes(damage)
        with pytest.warns(DamagedWarning, match=f"{path.name}.*computed anew"):
            again = open_job(open_table(source), folder, Screening("novelty"), tmp_path / "out")
        assert (first, last, path) not in done_ranges(again)
        path.write_bytes(whole)
    path.unlink()
    screen_here(again)
    pd.testing.assert_frame_equal(pd.read_parquet(write_results(again)), before, check_exact=True)
    (tmp_path / "out" / "screening.json").write_text("{")
    with pytest.raises(ValueError, match=r"screening.json.*damaged"):
        open_job(open_table(source), folder, Screening("novelty"), tmp_path / "out")


def test_another_table_in_the_same_folder_is_refused(tmp_path, folder):
    first = _write(tmp_path, table().iloc[:3])
    open_job(open_table(first), folder, Screening("novelty"), tmp_path / "out")
    assert done_ranges(open_job(open_table(first), folder, Screening("novelty"), tmp_path / "out")) == []
    with pytest.raises(ValueError, match="another table, with another model or mode"):
        open_job(open_table(first), folder, Screening("supervised_tail"), tmp_path / "out")
