-- Prompt average: several phrasings as one vector
-- Models were trained on captions. The mean of several phrasings finds more than a single word, and searching is as fast.
SELECT url, caption, round(distance, 3) AS distance
FROM search_by_embedding(
    embedding = (
        SELECT avgForEach(encode_text(replace(prompt, '{}', 'dog')))
        FROM (SELECT arrayJoin(['{}', 'a {}', 'a photo of a {}', 'a picture of a {}', 'the face of a {}']) AS prompt)
    ),
    k = 5);
