-- Top k of each category: the three best images under each licence
-- Takes the nearest 1000 of the whole table, by the index, and the first three of each licence among them
SELECT LICENSE, url, caption, round(distance, 3) AS distance
FROM search_by_text(query = 'a ship', k = 1000)
ORDER BY LICENSE, distance, id
LIMIT 3 BY LICENSE;

-- The best images of a rare category may be further away. This query misses none, but reads every vector
WITH encode_text('a ship') AS query
SELECT LICENSE, url, caption, round(cosineDistance(image_embedding, query), 3) AS distance
FROM laion
ORDER BY LICENSE, cosineDistance(image_embedding, query), id
LIMIT 3 BY LICENSE;
