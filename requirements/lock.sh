#!/bin/sh
# Re-pin the environments for every supported Python and platform at once. Run through `make lock`.
# Addresses are left out on purpose: a lock says what and which hash, the reader's pip says where from.
set -eu
compile() {
    "${UV:-uv}" pip compile "$@" --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet
}
compile ../pyproject.toml build.in -o runtime.lock
compile ../pyproject.toml build.in --extra dev --extra scoreboard --extra parquet --extra s3 --constraint runtime.lock -o dev.lock
compile peers.in -o peers.lock
