#!/bin/sh
# Run once by the base image's entry point, while the data directory is new: the table and the search views. On a cluster
# all servers must be up for that: CLIP_SCHEMA=no leaves it to you.
set -eu
[ "${CLIP_SCHEMA:-yes}" = yes ] || exit 0
password=$(python3 -c 'import os, urllib.parse; print(urllib.parse.quote(os.environ.get("CLICKHOUSE_PASSWORD", ""), safe=""))')
exec install-clip --url "http://${CLICKHOUSE_USER:-default}:$password@127.0.0.1:8123/${CLICKHOUSE_DB:-default}"
