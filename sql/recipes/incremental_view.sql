-- An incremental materialized view: paths come into one table, vectors arrive in another
CREATE OR REPLACE TABLE recipe_uploads (url String, caption String) ENGINE = Null;

-- Where the encoded rows go; the same columns as laion, so that laion itself can be the target
CREATE OR REPLACE TABLE recipe_encoded AS laion ENGINE = MergeTree ORDER BY id;

-- Each insert is encoded as it comes; a file that cannot be read gives an empty vector, and such rows are left out
CREATE MATERIALIZED VIEW recipe_encoder TO recipe_encoded AS
SELECT
    cityHash64(url) % 1000000000 AS id, url, caption,
    try_encode_image(url) AS image_embedding,
    encode_text(caption) AS text_embedding
FROM recipe_uploads
WHERE notEmpty(image_embedding);

-- Ten pictures of the table once more, and a path that leads nowhere
INSERT INTO recipe_uploads
SELECT url, ifNull(caption, '') FROM laion ORDER BY id LIMIT 10
UNION ALL
SELECT 'no such picture.png', 'nothing';

-- Ten rows have arrived
SELECT count() AS encoded FROM recipe_encoded;

-- The example leaves nothing behind
DROP VIEW recipe_encoder;

-- Nor the tables
DROP TABLE recipe_uploads, recipe_encoded;
