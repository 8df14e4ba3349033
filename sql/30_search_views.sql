{% from "macros/own_vector.sql" import own_vector with context %}
{# Each view encodes for itself instead of calling another: ClickHouse would look for that one in the caller's database. #}
{% macro pictures(name, target) %}
CREATE OR REPLACE VIEW {{ view(name) }}{{ on_cluster }} AS
WITH {{ target }} AS target
SELECT
    id, url, caption, NSFW, similarity, width, height, LICENSE,
    cosineDistance(image_embedding, target) AS distance
FROM
(
    SELECT id, url, caption, NSFW, similarity, width, height, LICENSE, image_embedding
    FROM {{ table }}
    ORDER BY cosineDistance(image_embedding, target)
    LIMIT greatest({k:UInt32}, least(4 * {k:UInt32}, 1000)) -- above 1000 rows ClickHouse reads the table instead
    SETTINGS hnsw_candidate_list_size_for_search = {{ ef_search }}
)
ORDER BY distance
LIMIT {k:UInt32}{{ comment }};
{% endmacro %}
-- Pictures that show what a text says: the index proposes 4 * k rows, their exact distances order them
{{ pictures('search_by_text', function('encode_text') ~ '({query:String})') }}
-- Pictures that look like a picture
{{ pictures('search_by_image', function('encode_image') ~ '({path:String})') }}
-- Pictures nearest to a vector, be it of a text or of a picture
{{ pictures('search_by_embedding', own_vector()) }}
