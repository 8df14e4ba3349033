-- Zero-shot classification: which of some labels is nearest to the picture, with the probability that the model gives it
-- It is a probability among these labels: one of them is always the best. Leave out the pictures that are none of them by
-- relevance, as in how_many.sql. It reads every vector.
SELECT url, label, round(probability, 3) AS probability
FROM label_images(labels = ['an animal', 'a flower', 'food', 'a vehicle', 'a face'])
ORDER BY cityHash64(url)
LIMIT 10;
