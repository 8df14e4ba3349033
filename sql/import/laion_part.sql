-- One published part into the table, by the server itself: ClickHouse reads the three files, side by side
-- Run it with clickhouse-client --queries-file, --param_part=0 and --param_base=https://… (or a folder of user_files,
-- with file() instead of url(); or s3()). Unlike clip-udfs import-laion it keeps no record: run it once for each part.
INSERT INTO laion (id, url, caption, NSFW, similarity, width, height, LICENSE, image_embedding, text_embedding)
SELECT
    {part:UInt64} * 1000000000 + rowNumberInAllBlocks() AS id,
    url, caption, NSFW, similarity, width, height, LICENSE, image_embedding, text_embedding
FROM
(
    SELECT ifNull(url, '') AS url, caption, ifNull(NSFW, '') AS NSFW, ifNull(similarity, 0) AS similarity,
        ifNull(width, 0) AS width, ifNull(height, 0) AS height, ifNull(LICENSE, '') AS LICENSE
    FROM url(concat({base:String}, '/metadata/metadata_', toString({part:UInt64}), '.parquet'), Parquet)
) AS metadata
PASTE JOIN
(
    SELECT array AS image_embedding
    FROM url(concat({base:String}, '/img_emb/img_emb_', toString({part:UInt64}), '.npy'), Npy)
) AS images
PASTE JOIN
(
    SELECT array AS text_embedding
    FROM url(concat({base:String}, '/text_emb/text_emb_', toString({part:UInt64}), '.npy'), Npy)
) AS texts
SETTINGS
    -- PASTE JOIN pairs rows as they arrive: without these two they arrive in another order than they have in the files.
    max_threads = 1,
    input_format_parquet_preserve_order = 1,
    max_insert_threads = 1;
