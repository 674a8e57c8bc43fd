from pathlib import Path

import pytest

from ase_mlx.cli.run import _jobs, _time, with_error_bar


@pytest.mark.parametrize(
    ("value", "std", "text"),
    [
        (5.46873, 0.00312, "5.4687 ± 0.0031"),
        (88.2371, 1.42, "88.2 ± 1.4"),
        (1234.5, 56.0, "1234 ± 56"),
        (12345.0, 560.0, "12340 ± 560"),
        (-0.0021, 0.00099, "-0.00210 ± 0.00099"),
        (5.46873, None, "5.47"),
        (5.46873, 0.0, "5.47"),
        (5.46873, float("nan"), "5.47"),
        (97.127, None, "97.1"),
        (1234.5, None, "1230"),
        (-115.234, None, "-115"),
        (1.2345e-7, None, "1.23e-07"),
        (1.0, 1e-12, "1 ± 1.0e-12"),
    ],
)
def test_error_bars_are_written_to_two_digits(value, std, text):
    assert with_error_bar(value, std) == text


def test_folders_of_files_with_one_name_differ():
    paths = [Path("a/POSCAR"), Path("b/POSCAR"), Path("si.cif"), Path("si.extxyz.xz"), Path("c/POSCAR")]
    assert [name for name, _, _ in _jobs(paths, "emt")] == ["POSCAR", "POSCAR-2", "si", "si-2", "POSCAR-3"]
    assert [name for name, _, _ in _jobs(paths[:1], "auto", ["POSCAR"])] == ["POSCAR-2"]


def test_a_long_run_says_which_stage_took_most_of_it():
    assert _time([]) == "0 s"
    assert _time([{"dynamics": 30.0, "phonons": 5.0}]) == "35 s"
    assert _time([{"dynamics": 60.0, "phonons": 70.0, "relaxation": 70.0}]) == "200 s"
    slow = [{"dynamics": 200.0, "phonons": 60.0}, {"dynamics": 100.0}]
    assert _time(slow) == "360 s, 300 of them for the dynamics (fewer --steps shorten them)"
    assert _time([{"phonons": 100.0, "dynamics": 50.0}]) == "150 s, 100 of them for the phonons"
