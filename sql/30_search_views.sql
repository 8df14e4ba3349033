-- Pictures nearest to a vector: the index proposes 4 * k rows, exact distances order them
CREATE OR REPLACE VIEW {{ view('search_by_embedding') }}{{ on_cluster }} AS
SELECT
    id, url, caption, NSFW, similarity, width, height, LICENSE,
    cosineDistance(image_embedding, {embedding:Array(Float32)}) AS distance
FROM
(
    SELECT id, url, caption, NSFW, similarity, width, height, LICENSE, image_embedding
    FROM {{ table }}
    ORDER BY cosineDistance(image_embedding, {embedding:Array(Float32)})
    LIMIT greatest({k:UInt32}, least(4 * {k:UInt32}, 1000)) -- above 1000 rows ClickHouse reads the table instead
    SETTINGS hnsw_candidate_list_size_for_search = {{ ef_search }}
)
ORDER BY distance
LIMIT {k:UInt32};

-- Pictures that show what a text says
CREATE OR REPLACE VIEW {{ view('search_by_text') }}{{ on_cluster }} AS
SELECT *
FROM {{ view('search_by_embedding') }}(embedding = {{ function('encode_text') }}({query:String}), k = {k:UInt32});

-- Pictures that look like a picture
CREATE OR REPLACE VIEW {{ view('search_by_image') }}{{ on_cluster }} AS
SELECT *
FROM {{ view('search_by_embedding') }}(embedding = {{ function('encode_image') }}({path:String}), k = {k:UInt32});
