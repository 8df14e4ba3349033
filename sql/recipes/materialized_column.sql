-- A table that encodes its own texts: the column is computed on insert, and nobody writes to it
CREATE OR REPLACE TABLE recipe_notes
(
    id        UInt64,
    note      String,
    embedding Array(Float32) MATERIALIZED encode_text(note) CODEC(NONE)
)
ENGINE = MergeTree
ORDER BY id;

-- Insert texts
INSERT INTO recipe_notes (id, note) VALUES (1, 'a cat'), (2, 'a red car'), (3, 'two kittens'), (4, 'a bowl of rice');

-- Search by meaning. Order by the distance itself: ordering by a rounded one would not use the index of a large table.
-- This table has none and reads every vector
WITH encode_text('cat') AS query
SELECT note, round(cosineDistance(embedding, query), 3) AS distance
FROM recipe_notes
ORDER BY cosineDistance(embedding, query)
LIMIT 10;

-- Clean up
DROP TABLE recipe_notes;
