-- An existing table: add a column that encodes its images, index it, and search it
-- Here the column photo contains paths. If it contains the images themselves, use encode_image_bytes(photo).
CREATE OR REPLACE TABLE recipe_products (id UUID DEFAULT generateUUIDv4(), product String, photo String)
ENGINE = MergeTree ORDER BY id;

-- Its rows
INSERT INTO recipe_products (product, photo)
SELECT assumeNotNull(caption), url FROM laion WHERE caption != '' ORDER BY id LIMIT 20;

-- From now on, rows are encoded on insert; a row that cannot be encoded is refused, with the reason
ALTER TABLE recipe_products ADD COLUMN embedding Array(Float32) MATERIALIZED encode_image(photo) CODEC(NONE);

-- Encode the existing rows. This returns immediately; the server continues, and system.mutations shows its progress
ALTER TABLE recipe_products MATERIALIZE COLUMN embedding;

-- For this example, wait: mutations run in order, so this one ends after the previous one
ALTER TABLE recipe_products UPDATE product = product WHERE false SETTINGS mutations_sync = 2;

-- The index; 512 is the length of the vectors
ALTER TABLE recipe_products ADD INDEX photo_index embedding TYPE vector_similarity('hnsw', 'cosineDistance', 512);

-- Build it for the existing rows
ALTER TABLE recipe_products MATERIALIZE INDEX photo_index SETTINGS mutations_sync = 2;

-- A new row is encoded and indexed on insert
INSERT INTO recipe_products (product, photo) SELECT 'the new one', url FROM laion ORDER BY id LIMIT 1 OFFSET 1;

-- Change the photo: its vector is computed again. A large update encodes every row that it changes
ALTER TABLE recipe_products UPDATE photo = (SELECT url FROM laion ORDER BY id LIMIT 1) WHERE product = 'the new one'
SETTINGS mutations_sync = 2;

-- The new one is now the same picture as the first of laion. Is the index used? EXPLAIN indexes = 1 tells
WITH (SELECT image_embedding FROM laion ORDER BY id LIMIT 1) AS query
SELECT product, round(cosineDistance(embedding, query), 3) AS distance
FROM recipe_products
ORDER BY cosineDistance(embedding, query)
LIMIT 3;

-- Clean up
DROP TABLE recipe_products;
