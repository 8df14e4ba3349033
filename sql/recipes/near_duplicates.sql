-- Near duplicates: pairs of images whose vectors are almost the same
-- Comparing every pair is impossible for millions of rows. Vectors that are nearly equal agree in the signs
-- of most numbers, so rows are compared only where one of eight groups of twelve signs is the same. It reads every vector.
SELECT first_url, second_url, greatest(min(cosineDistance(first_embedding, second_embedding)), 0) AS distance
FROM
(
    SELECT id AS first_id, url AS first_url, image_embedding AS first_embedding,
        arrayJoin(range(8)) AS band, arrayMap(x -> x > 0, arraySlice(image_embedding, band * 12 + 1, 12)) AS signs
    FROM laion
) AS one
INNER JOIN
(
    SELECT id AS second_id, url AS second_url, image_embedding AS second_embedding,
        arrayJoin(range(8)) AS band, arrayMap(x -> x > 0, arraySlice(image_embedding, band * 12 + 1, 12)) AS signs
    FROM laion
) AS other USING (band, signs)
WHERE first_id < second_id AND cosineDistance(first_embedding, second_embedding) < 0.02
GROUP BY first_url, second_url
ORDER BY distance, first_url, second_url
LIMIT 20;
