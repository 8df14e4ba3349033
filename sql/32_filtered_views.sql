{% from "macros/own_vector.sql" import own_vector with context %}
{% macro filtered(name, target) %}
CREATE OR REPLACE VIEW {{ view(name) }}{{ on_cluster }} AS
WITH {{ target }} AS target
SELECT
    id, url, caption, NSFW, similarity, width, height, LICENSE,
    cosineDistance(image_embedding, target) AS distance
FROM {{ table }}
WHERE (empty({nsfw:Array(String)}) OR has({nsfw:Array(String)}, NSFW))
  AND (empty({licenses:Array(String)}) OR has({licenses:Array(String)}, LICENSE))
  AND width >= {min_width:UInt32}
  AND height >= {min_height:UInt32}
ORDER BY distance
LIMIT {k:UInt32}
-- The index would filter its k answers afterwards and lose rows.
SETTINGS use_skip_indexes = 0{{ comment }};
{% endmacro %}
-- Pictures that pass a filter and show what a text says: exact; an empty list or 0 lets everything pass
{{ filtered('search_filtered_by_text', function('encode_text') ~ '({query:String})') }}
-- Pictures that pass a filter, nearest to a vector
{{ filtered('search_filtered_by_embedding', own_vector()) }}
