-- Captions nearest to a vector, be it of a text or of a picture
CREATE OR REPLACE VIEW {{ view('search_captions_by_embedding') }}{{ on_cluster }} AS
SELECT
    id, url, caption, NSFW, similarity, width, height, LICENSE,
    cosineDistance(text_embedding, {embedding:Array(Float32)}) AS distance
FROM
(
    SELECT id, url, caption, NSFW, similarity, width, height, LICENSE, text_embedding
    FROM {{ table }}
    ORDER BY cosineDistance(text_embedding, {embedding:Array(Float32)})
    LIMIT greatest({k:UInt32}, least(4 * {k:UInt32}, 1000))
    SETTINGS hnsw_candidate_list_size_for_search = {{ ef_search }}
)
ORDER BY distance
LIMIT {k:UInt32};

-- Captions that mean what a text says
CREATE OR REPLACE VIEW {{ view('search_captions_by_text') }}{{ on_cluster }} AS
SELECT *
FROM {{ view('search_captions_by_embedding') }}(embedding = {{ function('encode_text') }}({query:String}), k = {k:UInt32});
