-- Nearest captions of an image: which captions of the table describe it best
SELECT caption, distance
FROM search_captions_by_embedding(embedding = (SELECT image_embedding FROM laion ORDER BY id LIMIT 1), k = 5);
