-- Fill the table with the demo pictures, if it is empty: ClickHouse reads the list, the functions make the vectors
INSERT INTO {{ table | identifier }} (id, url, caption, NSFW, similarity, width, height, LICENSE, image_embedding, text_embedding)
SELECT
    rowNumberInAllBlocks() AS id,
    path AS url,
    caption_en AS caption,
    'UNLIKELY' AS NSFW,
    1 - cosineDistance(image_embedding, text_embedding) AS similarity,
    {{ side }} AS width,
    {{ side }} AS height,
    licence AS LICENSE,
    encode_image(path) AS image_embedding,
    encode_text(caption_en) AS text_embedding
FROM file({{ list | literal }}, TSVWithNames)
WHERE (SELECT count() FROM {{ table | identifier }}) = 0;

-- What is there now
SELECT splitByChar('/', url)[1] AS style, LICENSE AS licence, count() AS pictures, round(avg(similarity), 3) AS similarity_to_caption
FROM {{ table | identifier }} GROUP BY style, licence ORDER BY style;
