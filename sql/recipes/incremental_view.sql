-- An incremental materialized view: paths come into one table, vectors arrive in another
CREATE OR REPLACE TABLE recipe_uploads (url String, caption String) ENGINE = Null;

-- The target of the encoded rows; it has the columns of laion, so laion itself can be the target
CREATE OR REPLACE TABLE recipe_encoded AS laion ENGINE = MergeTree ORDER BY id;

-- Each insert is encoded on arrival; rows whose file cannot be read have an empty vector and are dropped
CREATE MATERIALIZED VIEW recipe_encoder TO recipe_encoded AS
SELECT
    cityHash64(url) % 1000000000 AS id, url, caption,
    try_encode_image(url) AS image_embedding,
    encode_text(caption) AS text_embedding
FROM recipe_uploads
WHERE notEmpty(image_embedding);

-- Insert ten images of the table again, and a path that does not exist
INSERT INTO recipe_uploads
SELECT url, ifNull(caption, '') FROM laion ORDER BY id LIMIT 10
UNION ALL
SELECT 'no such picture.png', 'nothing';

-- Ten rows have arrived
SELECT count() AS encoded FROM recipe_encoded;

-- Clean up
DROP VIEW recipe_encoder;

-- Drop the tables too
DROP TABLE recipe_uploads, recipe_encoded;
