#!/bin/sh
# Build sdist and wheel, install the wheel into a fresh environment outside the tree, and
# use it there: help, the catalog, and a card rendered from the templates it ships.
set -eu
python=$1
top=$(pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m build --outdir "$work/dist" "$top"
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --constraint "$top/constraints.txt" \
    "$(ls "$work"/dist/*.whl)[rehearse]"
cd "$work"
"$work/venv/bin/krelease" --help
"$work/venv/bin/krelease" releases
"$work/venv/bin/krelease" publish gamma-rev2 --rehearse
grep -q "Kohaku-XL gamma rev2" gamma-rev2-rehearsal/release/README.md
"$work/venv/bin/krelease" verify gamma-rev2-rehearsal/release
