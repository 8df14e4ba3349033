-- How well the built-in model finds pictures of the style it was never trained on (openmoji): recall in both languages
SELECT
    language,
    count() AS labels,
    round(100 * avg(rank <= 1), 1) AS recall_1,
    round(100 * avg(rank <= 5), 1) AS recall_5,
    round(100 * avg(rank <= 10), 1) AS recall_10
FROM
(
    -- rank of the right picture: 1 + the pictures of the gallery that are nearer to the label
    SELECT language, label, 1 + countIf(gallery.distance_to_label < own.distance_to_label) AS rank
    FROM
    (
        SELECT language, path, label, encode_text(label) AS q
        FROM file({{ list | literal }}, TSVWithNames)
        ARRAY JOIN ['English', 'Chinese'] AS language, [caption_en, caption_zh] AS label
        WHERE style = 'openmoji'
    ) AS labels
    CROSS JOIN (SELECT url, image_embedding FROM {{ table | identifier }} WHERE startsWith(url, 'openmoji/')) AS gallery
    GROUP BY language, label
)
GROUP BY language
ORDER BY language DESC;
