-- Prompt average: several ways to say the same, as one vector
-- Models were trained on captions. The mean of some phrasings finds more than one word does, and is no slower to search with.
SELECT url, caption, round(distance, 3) AS distance
FROM search_by_embedding(
    embedding = (
        SELECT avgForEach(encode_text(replace(prompt, '{}', 'dog')))
        FROM (SELECT arrayJoin(['{}', 'a {}', 'a photo of a {}', 'a picture of a {}', 'the face of a {}']) AS prompt)
    ),
    k = 5);
