-- The table: one row for each picture with its caption, and a unit vector for both
CREATE TABLE IF NOT EXISTS {{ stored_table }}{{ on_cluster }}
(
    id              Int64,                      -- LAION: part * 1000000000 + position in the part
    url             String,                     -- the picture's address, or its path below the image root
    caption         Nullable(String),
    NSFW            LowCardinality(String),     -- LAION: UNLIKELY, UNSURE or NSFW
    similarity      Float32,                    -- LAION: cosine similarity of picture and caption
    width           UInt32,
    height          UInt32,
    LICENSE         LowCardinality(String),
    image_embedding Array(Float32) CODEC(NONE), -- unit vectors do not compress: save the time
    text_embedding  Array(Float32) CODEC(NONE),
    -- An empty vector breaks every distance query and a vector index refuses it, so a row needs both.
    -- The names are what ClickHouse says to an analyst who brings another model's.
    CONSTRAINT `image_embedding takes vectors of {{ dimension }} numbers: the COMMENT of this table names their model`
        CHECK length(image_embedding) = {{ dimension }},
    CONSTRAINT `text_embedding takes vectors of {{ dimension }} numbers: the COMMENT of this table names their model`
        CHECK length(text_embedding) = {{ dimension }}
)
{% if cluster %}
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
{% else %}
ENGINE = MergeTree
{% endif %}
ORDER BY id
SETTINGS
    index_granularity = 1024, -- a search reads the whole granules of its candidates: small ones make it quick
{% if not cluster %}
    non_replicated_deduplication_window = 1000, -- a block sent twice, as after a lost connection, is stored once
{% endif %}
    -- Merges take one column at a time, so that they hold one vector of a row in memory, not both.
    vertical_merge_algorithm_min_rows_to_activate = 1,
    vertical_merge_algorithm_min_columns_to_activate = 1{{ comment }};
{% if cluster %}

-- The distributed table: what the views search and the import fills, over the shards' own tables
CREATE TABLE IF NOT EXISTS {{ table }}{{ on_cluster }} AS {{ stored_table }}
ENGINE = Distributed({{ cluster | literal }}, {{ database_expression }}, {{ stored_name | literal }}, cityHash64(id)){{ comment }};
{% endif %}
