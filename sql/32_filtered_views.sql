-- Pictures nearest to a vector among the rows that pass the filter: exact, never fewer than there are
-- An index search would filter its k answers afterwards and lose rows; this reads the vectors of matching rows only.
CREATE OR REPLACE VIEW {{ view('search_filtered_by_embedding') }}{{ on_cluster }} AS
SELECT
    id, url, caption, NSFW, similarity, width, height, LICENSE,
    cosineDistance(image_embedding, {embedding:Array(Float32)}) AS distance
FROM {{ table }}
WHERE (empty({nsfw:Array(String)}) OR has({nsfw:Array(String)}, NSFW))
  AND (empty({licenses:Array(String)}) OR has({licenses:Array(String)}, LICENSE))
  AND width >= {min_width:UInt32}
  AND height >= {min_height:UInt32}
ORDER BY distance
LIMIT {k:UInt32}
SETTINGS use_skip_indexes = 0;

-- Pictures that show what a text says, filtered; an empty list or 0 lets everything pass
CREATE OR REPLACE VIEW {{ view('search_filtered_by_text') }}{{ on_cluster }} AS
SELECT *
FROM {{ view('search_filtered_by_embedding') }}(
    embedding = {{ function('encode_text') }}({query:String}), k = {k:UInt32},
    nsfw = {nsfw:Array(String)}, licenses = {licenses:Array(String)},
    min_width = {min_width:UInt32}, min_height = {min_height:UInt32});
