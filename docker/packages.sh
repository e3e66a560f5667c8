#!/bin/sh
# Install what the locks of a target, and of more extras, pin: packages.sh service parquet otel
set -eu
target=$1
shift
locks="--requirement /locks/$target.lock"
for extra; do locks="$locks --requirement /locks/more-$extra.lock"; done
/opt/tools/bin/python -m pip --python /opt/venv/bin/python install \
    --quiet --no-compile --only-binary :all: --require-hashes $locks
# Byte code that names no time, because a read-only container writes none. Some packages bring files for other Pythons; those get none.
python3 -m compileall -qq --invalidation-mode unchecked-hash /opt/venv || true
