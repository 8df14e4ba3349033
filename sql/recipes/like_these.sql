-- Like these, unlike those: the mean of the examples, away from the mean of the counter-examples
SELECT url, caption, round(distance, 3) AS distance
FROM search_by_embedding(
    embedding = (
        SELECT arrayMap((liked, disliked) -> liked - 0.5 * disliked,
            avgForEachIf(image_embedding, id IN (0, 1, 2)),
            avgForEachIf(image_embedding, id IN (3, 4)))
        FROM laion
        WHERE id IN (0, 1, 2, 3, 4)
    ),
    k = 10);
