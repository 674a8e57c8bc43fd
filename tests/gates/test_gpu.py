"""Every road through torch: on a GPU the numbers of the CPU; without one the script that says so runs."""

from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="module")
def gpu():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).resolve().parents[2] / "benchmarks")
        import gpu

        yield gpu


ROADS = [
    "energies, forces, stress", "second derivatives", "training step", "density on a grid", "anomalies",
    "compressed squares",
]  # fmt: skip


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("road", ROADS)
def test_a_gpu_gives_the_numbers_of_the_cpu(gpu, road, dtype):
    if road in gpu.DOUBLE and dtype == torch.float32:
        pytest.skip("in float64 alone")
    off = gpu.compare(road, "cuda", dtype, 1)["off"]
    assert off and max(off.values()) <= gpu.BOUNDS[dtype], off


def test_every_road_is_tried_where_there_is_a_gpu(gpu):
    assert list(gpu.ROADS) == ROADS


@pytest.mark.slow
def test_the_script_runs_without_a_gpu(gpu, tmp_path, capsys):
    assert gpu.main(["--device", "cpu", "--quick", "--json", str(tmp_path / "gpu.json")]) == 0
    table = capsys.readouterr().out
    assert all(road in table for road in ROADS)


def test_a_device_that_is_not_there_is_a_wrong_call(gpu, capsys):
    with pytest.raises(SystemExit) as end:
        gpu.main(["--device", "cuda:77"])
    assert end.value.code == 2
    assert "expected one of this machine" in capsys.readouterr().err
