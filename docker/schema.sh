#!/bin/sh
# Run once by the image's entry point, when the data directory is new: the table and the search views.
set -eu
exec /opt/clip-udfs/bin/install-udfs --server-config /etc/clickhouse-server --user clickhouse --model "${CLIP_MODEL:-emoji}" \
    --url "http://${CLICKHOUSE_USER:-default}:${CLICKHOUSE_PASSWORD:-}@127.0.0.1:8123/${CLICKHOUSE_DB:-default}"
