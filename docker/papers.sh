#!/bin/sh
# What goes with an image when it is passed on: what is in it (CycloneDX), and under which licences.
set -eu
papers=$1
mkdir -p "$papers"
cp /source/LICENSE /source/NOTICE "$papers"
/opt/venv/bin/python -I /tools/licences.py > "$papers/licences.txt"
/opt/tools/bin/cyclonedx-py environment --output-reproducible --output-file "$papers/sbom.cdx.json" /opt/venv/bin/python
