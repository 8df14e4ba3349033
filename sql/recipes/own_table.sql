-- An existing table: add a column that encodes its pictures, index it, and search it
-- Here the column photo has paths. With the pictures themselves in it, write encode_image_bytes(photo).
CREATE OR REPLACE TABLE recipe_products (id UUID DEFAULT generateUUIDv4(), product String, photo String)
ENGINE = MergeTree ORDER BY id;

-- Its rows
INSERT INTO recipe_products (product, photo)
SELECT assumeNotNull(caption), url FROM laion WHERE caption != '' ORDER BY id LIMIT 20;

-- Rows that come in from now on are encoded; one that cannot be is refused, with the reason
ALTER TABLE recipe_products ADD COLUMN embedding Array(Float32) MATERIALIZED encode_image(photo) CODEC(NONE);

-- Encode the rows that are there. This returns at once; the server works on it, and system.mutations says how far it is
ALTER TABLE recipe_products MATERIALIZE COLUMN embedding;

-- For the example, wait for it: this change is made after the one before
ALTER TABLE recipe_products UPDATE product = product WHERE false SETTINGS mutations_sync = 2;

-- The index; 512 is the length of the vectors
ALTER TABLE recipe_products ADD INDEX photo_index embedding TYPE vector_similarity('hnsw', 'cosineDistance', 512);

-- Build it for the rows that are there
ALTER TABLE recipe_products MATERIALIZE INDEX photo_index SETTINGS mutations_sync = 2;

-- A new row is encoded and indexed as it comes in
INSERT INTO recipe_products (product, photo) SELECT 'the new one', url FROM laion ORDER BY id LIMIT 1 OFFSET 1;

-- Another photo: the vector follows, as it is computed from it. A large update encodes all rows that it meets
ALTER TABLE recipe_products UPDATE photo = (SELECT url FROM laion ORDER BY id LIMIT 1) WHERE product = 'the new one'
SETTINGS mutations_sync = 2;

-- The new one is now the same picture as the first of laion. Is the index used? EXPLAIN indexes = 1 tells
WITH (SELECT image_embedding FROM laion ORDER BY id LIMIT 1) AS query
SELECT product, round(cosineDistance(embedding, query), 3) AS distance
FROM recipe_products
ORDER BY cosineDistance(embedding, query)
LIMIT 3;

-- The example leaves nothing behind
DROP TABLE recipe_products;
