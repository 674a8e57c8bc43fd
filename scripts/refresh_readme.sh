#!/bin/sh
# After new weights: brings README's table of models and its picture up to date, in the environment of ./check.
set -eu
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-.venv/bin/python}" scripts/models_table.py --write
"${PYTHON:-.venv/bin/python}" -c 'import sys; from ase_mlx.cli import main; sys.argv[0] = "ase-mlx"; main()' demo -o "$folder"
mkdir -p docs/images
cp "$folder/silicon/summary.png" docs/images/demo.png
