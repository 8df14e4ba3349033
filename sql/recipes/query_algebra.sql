-- Query algebra: texts and pictures with weights, also negative ones, as one vector to search with
-- Twice a dog, somewhat like a picture of the table, and no fruit. A search does not mind the length of its vector. For a
-- picture that is not in the table, write encode_image('path') in its place.
SELECT url, caption, round(distance, 3) AS distance
FROM search_by_embedding(
    embedding = (
        SELECT arrayMap((dog, picture, fruit) -> 2 * dog + 0.5 * picture - 0.5 * fruit,
            encode_text('a dog'), image_embedding, encode_text('fruit'))
        FROM laion ORDER BY id LIMIT 1
    ),
    k = 5);

-- This, but red: a picture, plus what it should have, minus what it has
SELECT url, caption, round(distance, 3) AS distance
FROM search_by_embedding(
    embedding = (
        SELECT arrayMap((picture, red, blue) -> picture + red - blue,
            image_embedding, encode_text('red'), encode_text('blue'))
        FROM laion ORDER BY caption = 'blue heart' DESC, id LIMIT 1
    ),
    k = 5);
