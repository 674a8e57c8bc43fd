"""The page of results: what is in it, of which folders, and that nothing from a file can run."""

import json
import re
import shutil
import time

import numpy as np
import pandas as pd
import pytest
import reported
from commands import call

from ase_mlx.cli.output import write_json
from ase_mlx.jobs.report import REPORT, content_of, report_job
from ase_mlx.jobs.report.content import MOST_CRYSTALS, columns_of, name_and_unit, rounded
from ase_mlx.jobs.report.page import page, safe_json

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("results")
    make = {"run": reported.ran, "phonons": reported.vibrated, "screen": reported.screened}
    made = {}
    for name, job in make.items():
        (base / name).mkdir()
        made[name] = job(base / name / "out")
    return made


def data_of(path):
    """What a page holds, as a browser would parse it."""
    text = path.read_text("utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


@pytest.mark.parametrize("name", [pytest.param("run", marks=pytest.mark.slow), "phonons", "screen"])
def test_commands_leave_a_page_beside_their_results(folders, name):
    data = data_of(folders[name] / REPORT)
    assert data["kind"] == name and ["command", f"ase-mlx {name}"] in data["asked"]
    assert REPORT in json.loads((folders[name] / "results.json").read_text("utf-8"))["files"]
    assert data["crystals"] and data["crystals"][0]["symbols"]


def test_a_run_says_what_was_left_out_and_shows_its_frames(folders):
    data = data_of(folders["run"] / REPORT)
    reasons = [note["text"] for note in data["notes"] if note["kind"] == "left out"]
    assert any(text.startswith("phonons: ") and "slab" in text for text in reasons)
    (subject,), (frames,) = data["subjects"], data["tables"]
    result = json.loads((folders["run"] / "results.json").read_text("utf-8"))
    assert [row["value"] for row in subject["numbers"]] == [row["value"] for row in result["quantities"]]
    assert frames["rows"] == len(frames["crystals"]) == len(data["crystals"]) > 3
    assert subject["pictures"][0]["data"].startswith("data:image/png;base64,")
    assert dict(data["asked"])["steps"] == "50"


def test_bands_and_thermal_functions_are_those_of_the_tables(folders):
    subject = data_of(folders["phonons"] / REPORT)["subjects"][0]
    bands = next(curve for curve in subject["curves"] if curve["name"] == "Phonon bands")
    table = pd.read_csv(folders["phonons"] / "bands.csv")
    assert [label for _, label in bands["ticks"]][0] == "Γ" and len(bands["ticks"]) > 3
    np.testing.assert_allclose(bands["lines"][2]["values"], table["band3_THz"], rtol=1e-5, atol=1e-9)
    heat = next(curve for curve in subject["curves"] if curve["name"] == "Heat capacity C_V")
    thermal = pd.read_csv(folders["phonons"] / "thermal.csv")
    np.testing.assert_allclose(heat["lines"][0]["values"], thermal["C_V_J/(K mol atom)"], rtol=1e-5, atol=1e-9)
    assert heat["y"] == "C_V (J/(K mol atom))" and heat["lines"][0]["std"] is None  # EMT has no members


def test_a_screening_has_its_rows_by_rank_with_reasons_and_crystals(folders):
    data, results = data_of(folders["screen"] / REPORT), pd.read_parquet(folders["screen"] / "results.parquet")
    (table,) = data["tables"]
    ranked = results.sort_values("rank").reset_index(drop=True)
    assert table["rows"] == 40 and table["data"]["rank"][:3] == [1, 2, 3] and table["data"]["rank"][-1] is None
    np.testing.assert_allclose(table["data"]["anomaly_score"][:39], ranked["anomaly_score"][:39], rtol=1e-5)
    score = next(column for column in table["columns"] if column["key"] == "anomaly_score")
    assert score["std"] == "anomaly_score_std" and score["unit"] == "nats"
    shares = table["contributions"]
    assert [shares["names"][k] for k in shares["index"][0]] == list(ranked["top_descriptors"][0])
    np.testing.assert_allclose(shares["values"][0], ranked["top_contributions"][0], rtol=1e-5)
    assert table["crystals"][0] >= 0 > table["crystals"][-1] and len(data["crystals"]) == 39
    assert table["data"]["reasons"][-1]  # of the row that has no score
    first = data["crystals"][table["crystals"][0]]
    assert len(first["symbols"]) == ranked["nsites"][0] and len(first["positions"]) == 3 * ranked["nsites"][0]


def test_nothing_from_a_file_can_run(folders):
    text = (folders["screen"] / REPORT).read_text("utf-8")
    assert "window.evil" in text and reported.EVIL not in text
    assert reported.EVIL in data_of(folders["screen"] / REPORT)["tables"][0]["data"]["material_id"]
    # one block of data and two scripts of ours, each allowed by the hash of its content, and no other
    assert len(re.findall(r"<script[ >]", text)) == 3 and "unsafe-inline'; img" in text
    assert text.count("'sha256-") == 2 and "script-src 'sha256-" in text
    assert safe_json({"a": "</script><!-- & \u2028"}) == '{"a":"\\u003c/script\\u003e\\u003c!-- \\u0026 \\u2028"}'


def test_a_page_asks_no_address_for_anything(folders):
    text = (folders["run"] / REPORT).read_text("utf-8")
    ours = re.sub(r"<script>.*?</script>|<!--.*?-->", "", text, flags=re.DOTALL)
    assert not re.search(r"(?:src|href)=|url\(|@import|https?:", ours)
    assert "3Dmol.js" in text and "BSD-3-Clause license" in text and "connect-src 'none'" in text


def test_titles_are_escaped(folders):
    content = content_of(folders["phonons"])
    content.title = "<b>Al & co</b>"
    assert "<title>&lt;b&gt;Al &amp; co&lt;/b&gt; – ase_mlx phonons</title>" in page(content)


@pytest.mark.slow
def test_conductivity_generation_and_a_row_for_each_phonon(tmp_path):
    for name, job in (("conductivity", reported.conducted), ("generate", reported.generated)):
        (tmp_path / name).mkdir()
        job(tmp_path / name / "out")
    data = data_of(tmp_path / "conductivity/out" / REPORT)
    (table,), (subject,) = data["tables"], data["subjects"]
    assert sum(table["data"]["share of κ (%)"]) == pytest.approx(100, abs=0.01)
    kappa = pd.read_csv(tmp_path / "conductivity/out/kappa.csv")
    curve = next(curve for curve in subject["curves"] if curve["name"].startswith("Lattice"))
    np.testing.assert_allclose(curve["lines"][0]["values"], kappa["kappa_xx_W/(m K)"], rtol=1e-4)
    carried = next(curve for curve in subject["curves"] if curve["name"].startswith("Carried up to a mean"))
    assert carried["log_x"] and carried["lines"][0]["values"][-1] == pytest.approx(
        kappa["kappa_xx_W/(m K)"][1], rel=1e-3
    )
    assert subject["formula"] == "Si" and len(data["crystals"][0]["symbols"]) == 8
    made = data_of(tmp_path / "generate/out" / REPORT)
    (candidates,) = made["tables"]
    assert candidates["rows"] == 12 and len(made["crystals"]) == sum(x is not None for x in candidates["data"]["rank"])
    assert dict(made["asked"])["allowed"] == "Cu, Au, Ag"


@pytest.mark.slow
def test_active_learning_shows_rounds_and_what_was_asked_for(tmp_path, monkeypatch):
    from active_learning import environment, prepared, quick

    from ase_mlx.jobs.active import active

    quick(monkeypatch.setattr)
    environment(monkeypatch, tmp_path)
    done = active(prepared(tmp_path), tmp_path / "out")
    data = data_of(tmp_path / "out" / REPORT)
    tables = {table["name"]: table for table in data["tables"]}
    assert data["kind"] == "active" and tables["Rounds"]["data"]["labels"] == [line["labels"] for line in done.rounds]
    assert tables["Structures"]["rows"] == 7 and "asked for by variance" in tables["Structures"]["data"]["reasons"]
    assert data["subjects"][0]["curves"]


def test_several_structures_are_rows_that_open_their_own_curves(folders, tmp_path):
    every = [json.loads((folders[name] / "results.json").read_text("utf-8")) for name in ("run", "phonons")]
    for one, name in zip(every, ("run", "phonons"), strict=True):
        shutil.copytree(folders[name], tmp_path / one["name"])
    every[0]["failed"] = {"dynamics": "no patience"}
    write_json(every, tmp_path / "results.json")
    made = report_job(tmp_path, tmp_path / "joint.html")
    data = data_of(tmp_path / "joint.html")
    (table,) = data["tables"]
    assert made.rows == 2 and table["subjects"] == [0, 1] and table["flags"] == [1, 0]
    assert data["subjects"][1]["curves"] and data["subjects"][0]["pictures"]
    assert {"kind": "failed", "about": "slab", "text": "dynamics: no patience"} in data["notes"]


def test_the_command_writes_where_it_is_told_and_says_what_it_wrote(folders, tmp_path):
    done = call(tmp_path, "report", folders["screen"], "-o", "page.html", "--json", "-")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["kind"] == "screen" and told["rows"] == 40 and told["path"] == "page.html"
    assert (tmp_path / "page.html").stat().st_size == told["size_bytes"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a.txt": "x"}, "a.txt"),
        ({}, "nothing"),
        ({"results.json": "[1, 2]"}, "another command"),
        ({"results.json": "{"}, "results.json"),
        ({"results.parquet": "PAR1"}, "results.parquet"),
        ({"kappa.hdf5": "x"}, "kappa.hdf5"),
        ({"candidates.csv": "a,b\n1,2\n"}, "candidates.csv"),
        ({"report.json": "{}"}, "report.json"),
        ({"candidates.csv": "rank,formula,reasons\n1,Si,\n", "results.json": "[]"}, "results.json"),
    ],
)
def test_other_folders_and_damaged_files_are_refused(tmp_path, files, words):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    done = call(tmp_path, "report", ".")
    text = " ".join(done.stderr.replace("│", " ").split())
    assert done.returncode == 2 and "got" in text and words in text, text
    assert "expected" in text or "cannot be read as" in text, text
    assert not (tmp_path / REPORT).exists()


def test_a_missing_folder_is_a_wrong_call(tmp_path):
    assert call(tmp_path, "report", "nowhere").returncode == 2


def test_results_without_settings_or_crystals_are_shown_and_said(folders, tmp_path):
    shutil.copy(folders["screen"] / "results.parquet", tmp_path)
    made = report_job(tmp_path)
    assert made.rows == 40 and made.crystals == 0
    said = " ".join(note["text"] for note in made.notes)
    assert "No crystals" in said and "kept no settings" in said
    assert "$3Dmol.createViewer" in (tmp_path / REPORT).read_text("utf-8").split("<script>")[1]  # our script alone


def test_fifty_thousand_rows_are_written_in_seconds(folders, tmp_path):
    long = reported.lengthened(folders["screen"], tmp_path / "long")
    start = time.perf_counter()
    made = report_job(long)
    seconds = time.perf_counter() - start
    print(f"{made.rows} rows, {made.size_bytes / 1e6:.1f} MB, written in {seconds:.1f} s")
    assert made.rows == 50_000 and seconds < 60
    assert any("of the others only the numbers" in note["text"] for note in made.notes)


def test_numbers_keep_six_digits_and_gaps():
    assert rounded([1.23456789, -1234567.8, 0.0, 1e-300, np.nan, np.inf]) == [
        1.23457,
        -1234570.0,
        0.0,
        1e-300,
        None,
        None,
    ]
    assert rounded(np.array([])) == []
    assert rounded([4.00000049e20]) == [4e20]


@pytest.mark.parametrize(
    ("column", "name", "unit"),
    [
        ("hull_distance (eV/atom)", "hull_distance", "eV/atom"),
        ("C_V_J/(K mol atom)", "C_V", "J/(K mol atom)"),
        ("C_V_J/(K mol atom)_std", "C_V_std", "J/(K mol atom)"),
        ("temperature_K", "temperature", "K"),
        ("V_A3/atom", "V", "Å³/atom"),
        ("kappa_xx_W/(m K)", "kappa_xx", "W/(m K)"),
        ("forces_rmse_meV_A", "forces_rmse", "meV/Å"),
        ("formation_energy_std", "formation_energy_std", "eV/atom"),
        ("energy of emt (eV/atom)", "energy of emt", "eV/atom"),
        ("heat capacity C_V (300 K)_std (J/(K mol atom))", "heat capacity C_V (300 K)_std", "J/(K mol atom)"),
        ("material_id", "material_id", ""),
    ],
)
def test_names_of_columns_tell_their_units(column, name, unit):
    assert name_and_unit(column) == (name, unit)


def test_columns_of_any_type_become_json():
    frame = pd.DataFrame(
        {
            "x (Å)": [1.0, np.nan],
            "x_std (Å)": [0.1, np.nan],
            "n": pd.array([1, None], dtype="Int64"),
            "yes": [True, None],
            "word": ["a", None],
            "lists": [np.array([1, 2]), None],
        }
    )
    columns, data = columns_of(frame)
    assert [(c["name"], c["unit"], c["kind"]) for c in columns[:3]] == [
        ("x", "Å", "number"), ("x std", "Å", "number"), ("n", "", "whole"),
    ]  # fmt: skip
    assert columns[0]["std"] == "x_std (Å)" and columns[1]["of"] == "x (Å)"
    assert data["x (Å)"] == [1.0, None] and data["n"] == [1, None] and data["word"] == ["a", ""]
    json.dumps(data, allow_nan=False)
    assert MOST_CRYSTALS > 100
