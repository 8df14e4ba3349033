-- A copy of the sample with an index of this variant
CREATE OR REPLACE TABLE {{ scratch('variant') }}
(
    id        Int64,
    embedding Array(Float32) CODEC(NONE),
    INDEX embedding_index embedding
        TYPE vector_similarity('hnsw', 'cosineDistance', {{ dimension }}, {{ quantization | literal }}, {{ m }}, {{ ef_construction }})
)
ENGINE = MergeTree
ORDER BY id
SETTINGS index_granularity = 1024;

-- The rows first
INSERT INTO {{ scratch('variant') }} SELECT id, embedding FROM {{ scratch('rows') }}
SETTINGS materialize_skip_indexes_on_insert = 0;

-- Then the index, with the one part that the rows end in
OPTIMIZE TABLE {{ scratch('variant') }} FINAL;
