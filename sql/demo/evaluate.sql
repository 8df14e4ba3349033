-- Held-out style: how often the label of a picture, as a text, finds that picture among all openmoji pictures
WITH
    labels AS
    (
        SELECT language, path, encode_text(label) AS label_embedding
        FROM file({{ list | literal }}, TSVWithNames)
        ARRAY JOIN ['English', 'Chinese'] AS language, [caption_en, caption_zh] AS label
        WHERE style = 'openmoji'
    ),
    ranks AS
    (
        -- 1 + the pictures that are nearer to the label than its own picture
        SELECT
            language,
            path,
            groupArray(cosineDistance(image_embedding, label_embedding)) AS distances,
            anyIf(cosineDistance(image_embedding, label_embedding), url = path) AS own_distance,
            1 + arrayCount(distance -> distance < own_distance, distances) AS rank
        FROM labels CROSS JOIN {{ table | identifier }}
        WHERE startsWith(url, 'openmoji/')
        GROUP BY language, path
    )
SELECT
    language,
    count() AS labels,
    round(100 * avg(rank <= 1), 1) AS recall_at_1,
    round(100 * avg(rank <= 5), 1) AS recall_at_5,
    round(100 * avg(rank <= 10), 1) AS recall_at_10
FROM ranks
GROUP BY language
ORDER BY language DESC;

-- Held-out style: how many of the first 5 pictures carry the keyword that was searched, over all keywords of 5 or more
WITH
    tags AS
    (
        SELECT language, keyword, groupUniqArray(path) AS carriers, encode_text(keyword) AS keyword_embedding
        FROM
        (
            SELECT path, language, arrayJoin(arrayPushBack(splitByChar('|', keywords), label)) AS keyword
            FROM file({{ list | literal }}, TSVWithNames)
            ARRAY JOIN
                ['English', 'Chinese'] AS language,
                [keywords_en, keywords_zh] AS keywords,
                [caption_en, caption_zh] AS label
            WHERE style = 'openmoji'
        )
        WHERE keyword != ''
        GROUP BY language, keyword
        HAVING length(carriers) >= 5
    ),
    top AS
    (
        SELECT language, keyword, has(carriers, url) AS carries
        FROM tags CROSS JOIN {{ table | identifier }}
        WHERE startsWith(url, 'openmoji/')
        ORDER BY cosineDistance(image_embedding, keyword_embedding)
        LIMIT 5 BY language, keyword
    )
SELECT
    language,
    uniqExact(keyword) AS keywords,
    round(100 * avg(carries), 1) AS top_5_carrying_the_keyword
FROM top
GROUP BY language
ORDER BY language DESC;
