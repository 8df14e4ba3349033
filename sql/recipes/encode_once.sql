-- Encode each distinct text once: if texts repeat, most of the time would go into encoding them again
-- LowCardinality does not help: ClickHouse passes every row of such a column to the function.
CREATE OR REPLACE TABLE recipe_comments ENGINE = MergeTree ORDER BY id AS
SELECT number AS id, ['what a cute dog', 'nice', 'so much snow', 'great goal'][number % 4 + 1] AS comment FROM numbers(400);

-- Four texts are encoded, not 400
SELECT count() AS comments, uniqExact(vector) AS vectors
FROM recipe_comments
INNER JOIN
(
    SELECT comment, encode_text(comment) AS vector
    FROM (SELECT DISTINCT comment FROM recipe_comments)
) AS encoded USING (comment);

-- Clean up
DROP TABLE recipe_comments;
