-- Many texts at once: the three best images for each of them
-- One pass over the vectors serves all the texts, which are encoded as one block. This reads every vector: for a
-- few texts on a large table, combine searches by search_by_text with UNION ALL.
SELECT query, url, caption, round(cosineDistance(image_embedding, vector), 3) AS distance
FROM laion
CROSS JOIN
(
    SELECT query, encode_text(query) AS vector
    FROM (SELECT arrayJoin(['a dog', 'a sailing ship', 'a slice of pizza']) AS query)
) AS queries
ORDER BY query, cosineDistance(image_embedding, vector), id
LIMIT 3 BY query;
