-- Outliers: images that are least like the rest, and those whose caption fits them least
-- An index finds near vectors, never far ones: this reads every vector.
WITH (SELECT avgForEach(image_embedding) FROM laion) AS middle
SELECT
    url,
    caption,
    round(cosineDistance(image_embedding, middle), 3) AS from_the_middle,
    round(cosineDistance(image_embedding, text_embedding), 3) AS from_its_caption
FROM laion
ORDER BY from_the_middle DESC
LIMIT 5;

-- The second half: captions that do not fit
SELECT url, caption, round(cosineDistance(image_embedding, text_embedding), 3) AS from_its_caption
FROM laion
ORDER BY from_its_caption DESC, url
LIMIT 5;
