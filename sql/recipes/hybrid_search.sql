-- Hybrid search: a condition on the caption's words, ordered by what the picture shows
-- 'prefilter' looks at the condition first: the index would propose ten rows and the condition might leave none.
WITH encode_text('a happy animal') AS query
SELECT url, caption, cosineDistance(image_embedding, query) AS distance
FROM laion
WHERE caption ILIKE '%face%'
ORDER BY distance
LIMIT 10
SETTINGS vector_search_filter_strategy = 'prefilter';
