-- Rows to search, without an index: the sample that every variant is built on
CREATE OR REPLACE TABLE {{ scratch('rows') }} ENGINE = MergeTree ORDER BY id SETTINGS index_granularity = 1024 AS
SELECT id, {{ column }} AS embedding
FROM {{ table }}
ORDER BY id
LIMIT {{ rows }};

-- One data part, as merges will have made it in the end
OPTIMIZE TABLE {{ scratch('rows') }} FINAL;

-- Vectors to search with, drawn by a hash so that every run draws the same
CREATE OR REPLACE TABLE {{ scratch('queries') }} ENGINE = Memory AS
SELECT toUInt32(rowNumberInAllBlocks()) AS n, embedding
FROM
(
    SELECT {{ query_column }} AS embedding
    FROM {{ table }}
    ORDER BY cityHash64(id)
    LIMIT {{ queries }}
);

-- What each variant has found; the variant '' is brute force
CREATE OR REPLACE TABLE {{ scratch('found') }} (variant String, n UInt32, id Int64) ENGINE = Memory;
