#!/bin/sh
# Installs the servers that the tests talk to into FOLDER: a Python environment in venv/, Node packages in
# node_modules/. Afterwards run the tests with MADRIGAL_PEERS=FOLDER. Running it again repairs or updates.
set -eu

if [ $# -ne 1 ]; then
    echo "usage: $0 FOLDER" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)

"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
    -r "$here/requirements.txt"

cp "$here/package.json" "$here/package-lock.json" "$folder/"
npm ci --prefix "$folder" --no-audit --no-fund --ignore-scripts --loglevel error
