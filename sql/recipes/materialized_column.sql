-- A table that encodes its texts itself: the column is computed when rows come in, nobody writes to it
CREATE OR REPLACE TABLE recipe_notes
(
    id        UInt64,
    note      String,
    embedding Array(Float32) MATERIALIZED encode_text(note) CODEC(NONE)
)
ENGINE = MergeTree
ORDER BY id;

-- Rows come in as text
INSERT INTO recipe_notes (id, note) VALUES (1, 'a cat'), (2, 'a red car'), (3, 'two kittens'), (4, 'a bowl of rice');

-- And are found by meaning. Order by the distance itself, not by a rounded one: a large table would lose its index to that.
-- This one has none and reads every vector
WITH encode_text('cat') AS query
SELECT note, round(cosineDistance(embedding, query), 3) AS distance
FROM recipe_notes
ORDER BY cosineDistance(embedding, query)
LIMIT 10;

-- The example leaves nothing behind
DROP TABLE recipe_notes;
