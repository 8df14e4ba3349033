-- Zero-shot classification: the label nearest to each image, with the model's probability for it
-- The probability is among these labels, so one of them is always the best. Drop images that show none of them by
-- relevance, as in how_many.sql. This reads every vector.
SELECT url, label, round(probability, 3) AS probability
FROM label_images(labels = ['an animal', 'a flower', 'food', 'a vehicle', 'a face'])
ORDER BY cityHash64(url)
LIMIT 10;
