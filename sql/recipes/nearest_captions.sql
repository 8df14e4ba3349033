-- Nearest captions of an image: the captions in the table that describe it best
SELECT caption, distance
FROM search_captions_by_embedding(embedding = (SELECT toString(image_embedding) FROM laion ORDER BY id LIMIT 1), k = 5);
