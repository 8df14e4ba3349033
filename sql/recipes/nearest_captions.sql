-- Nearest captions of a picture: what the other captions of the table would call it
SELECT caption, distance
FROM search_captions_by_embedding(embedding = (SELECT image_embedding FROM laion ORDER BY id LIMIT 1), k = 5);
