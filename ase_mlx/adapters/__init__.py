"""The gates: hosts are imported here, and in `ase_mlx.data`, which reads and writes files."""
