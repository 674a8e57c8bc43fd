"""Damage anywhere in a file of kept rows is seen."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ase_mlx.keep import check_rows, write_rows

TABLE = pa.table({"row": range(300), "score": np.linspace(0, 1, 300), "members": [[0.1 * k, 2.0] for k in range(300)]})


def test_rows_come_again_and_damage_is_seen(tmp_path):
    path = tmp_path / "rows-0-300.parquet"
    write_rows(TABLE, path)
    check_rows(path)
    assert pq.read_table(path).equals(TABLE)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for at in [0, 1, len(whole) - 1, *rng.integers(len(whole), size=100)]:
        for damage in (whole[:at], whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :]):
            path.write_bytes(damage)
            with pytest.raises(ValueError, match=r"checksum|no whole table"):
                check_rows(path)


def test_rows_without_a_checksum_are_read_as_a_whole(tmp_path):
    (tmp_path / "rows-0-300").mkdir()
    for k in range(2):
        pq.write_table(TABLE, tmp_path / "rows-0-300" / f"part-{k}.parquet", write_page_checksum=True)
    check_rows(tmp_path / "rows-0-300")
    path = tmp_path / "rows-0-300" / "part-1.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="no whole table"):
        check_rows(tmp_path / "rows-0-300")
