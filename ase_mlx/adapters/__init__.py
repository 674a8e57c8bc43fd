"""The gates: each file is the only importer of its host."""
