-- Nearest captions: those in the table that best describe an image
SELECT caption, distance
FROM search_captions_by_embedding(embedding = (SELECT toString(image_embedding) FROM laion ORDER BY id LIMIT 1), k = 5);
