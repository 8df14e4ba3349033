-- An existing table with many rows: encode them while the table is searched; an interruption costs little
-- Shorter: own_table.sql. But there, a query that reads the new column encodes all rows that the mutation has not reached.
CREATE OR REPLACE TABLE recipe_stock (id UInt64, photo String) ENGINE = MergeTree ORDER BY id;

-- Its rows, one of them without an image
INSERT INTO recipe_stock
SELECT rowNumberInAllBlocks(), url FROM (SELECT url FROM laion WHERE caption != '' ORDER BY id LIMIT 20)
UNION ALL SELECT 20, 'no such image';

-- A column without an expression: the existing rows have [], which costs nothing
ALTER TABLE recipe_stock ADD COLUMN embedding Array(Float32) CODEC(NONE);

-- Encode what is not encoded. Without the setting this returns immediately: system.mutations shows the progress, a
-- restarted server continues, and after KILL MUTATION the same statement does the rest
ALTER TABLE recipe_stock UPDATE embedding = try_encode_image(photo) WHERE empty(embedding) SETTINGS mutations_sync = 2;

-- Until it has finished, search what is encoded. Without an index, this reads every vector
WITH (SELECT image_embedding FROM laion ORDER BY id LIMIT 1) AS query
SELECT id, round(cosineDistance(embedding, query), 3) AS distance
FROM recipe_stock
WHERE notEmpty(embedding)
ORDER BY cosineDistance(embedding, query)
LIMIT 1;

-- What cannot be encoded, and why
SELECT id, image_info.reason AS reason FROM (SELECT id, try_image_info(photo) AS image_info FROM recipe_stock WHERE empty(embedding));

-- An index accepts no []: correct such rows, or delete them
ALTER TABLE recipe_stock DELETE WHERE empty(embedding) SETTINGS mutations_sync = 2;

-- From now on, rows are encoded on insert
ALTER TABLE recipe_stock MODIFY COLUMN embedding Array(Float32) MATERIALIZED encode_image(photo) CODEC(NONE);

-- Encode rows that were inserted in the meantime: writing the photo computes the vector
ALTER TABLE recipe_stock UPDATE photo = photo WHERE empty(embedding) SETTINGS mutations_sync = 2;

-- The index; 512 is the length of the vectors
ALTER TABLE recipe_stock ADD INDEX photo_index embedding TYPE vector_similarity('hnsw', 'cosineDistance', 512);

-- Build it
ALTER TABLE recipe_stock MATERIALIZE INDEX photo_index SETTINGS mutations_sync = 2;

-- Clean up
DROP TABLE recipe_stock;
