-- Query algebra: texts and images with weights, including negative ones, as one query vector
-- Twice a dog, somewhat like an image of the table, and no fruit. The length of a query vector does not matter. For an
-- image that is not in the table, use encode_image('path') instead.
SELECT url, caption, round(distance, 3) AS distance
FROM search_by_embedding(
    embedding = (
        SELECT arrayMap((dog, picture, fruit) -> 2 * dog + 0.5 * picture - 0.5 * fruit,
            encode_text('a dog'), image_embedding, encode_text('fruit'))
        FROM laion ORDER BY id LIMIT 1
    ),
    k = 5);

-- This, but red: an image, plus what it should have, minus what it has
SELECT url, caption, round(distance, 3) AS distance
FROM search_by_embedding(
    embedding = (
        SELECT arrayMap((picture, red, blue) -> picture + red - blue,
            image_embedding, encode_text('red'), encode_text('blue'))
        FROM laion ORDER BY caption = 'blue heart' DESC, id LIMIT 1
    ),
    k = 5);
