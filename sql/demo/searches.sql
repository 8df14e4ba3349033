{% for search in searches %}
-- {{ search.title }}
SELECT url, caption, round(distance, 3) AS distance FROM {{ search.view }}({{ search.parameter }} = {{ search.value | literal }}, k = 5);

{% endfor %}
-- The index at work: the lines of the plan that say so
SELECT replaceRegexpOne(explain, '^[^A-Za-z]+', '') AS plan FROM
(
    EXPLAIN indexes = 1
    WITH encode_text('cat') AS q
    SELECT url FROM {{ table | identifier }} ORDER BY cosineDistance(image_embedding, q) LIMIT 10
)
WHERE match(explain, 'Name:|vector_similarity|Granules');
