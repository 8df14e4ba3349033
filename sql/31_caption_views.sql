{% from "macros/own_vector.sql" import own_vector with context %}
{% macro captions(name, target) %}
CREATE OR REPLACE VIEW {{ view(name) }}{{ on_cluster }} AS
WITH {{ target }} AS target
SELECT
    id, url, caption, NSFW, similarity, width, height, LICENSE,
    cosineDistance(text_embedding, target) AS distance
FROM
(
    SELECT id, url, caption, NSFW, similarity, width, height, LICENSE, text_embedding
    FROM {{ table }}
    ORDER BY cosineDistance(text_embedding, target)
    LIMIT greatest({k:UInt32}, least(4 * {k:UInt32}, 1000))
    SETTINGS hnsw_candidate_list_size_for_search = {{ ef_search }}
)
ORDER BY distance
LIMIT {k:UInt32}{{ comment }};
{% endmacro %}
-- Captions that mean what a text says
{{ captions('search_captions_by_text', function('encode_text') ~ '({query:String})') }}
-- Captions nearest to a vector, be it of a text or of a picture
{{ captions('search_captions_by_embedding', own_vector()) }}
