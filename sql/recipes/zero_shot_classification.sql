-- Zero-shot classification: the label whose text is nearest to the picture, with its probability as CLIP reckons it
-- The labels are encoded once; 100 is the scale that CLIP was trained to.
WITH
    ['an animal', 'a flower', 'food', 'a vehicle', 'a face'] AS labels,
    (SELECT groupArray(encode_text(label)) FROM (SELECT arrayJoin(labels) AS label)) AS label_embeddings,
    arrayMap(label_embedding -> exp(100 * (1 - cosineDistance(image_embedding, label_embedding))), label_embeddings) AS weights
SELECT
    url,
    labels[indexOf(weights, arrayMax(weights))] AS label,
    round(arrayMax(weights) / arraySum(weights), 3) AS probability
FROM laion
ORDER BY cityHash64(url)
LIMIT 10;
