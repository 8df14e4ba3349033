-- Clusters with names: images around eight centres, each named by the caption that fits it best
-- One round of k-means, which reads every vector. For a large table, put SAMPLE or WHERE cityHash64(id) % 100 = 0 after
-- both FROM laion. A centre is named by what sets it apart: its difference from the overall mean.
WITH
    seeds AS
    (
        SELECT row_number() OVER (ORDER BY cityHash64(id)) AS cluster, image_embedding AS seed
        FROM laion ORDER BY cityHash64(id) LIMIT 8
    ),
    assigned AS
    (
        SELECT argMin(cluster, cosineDistance(image_embedding, seed)) AS cluster, any(image_embedding) AS vector
        FROM laion CROSS JOIN seeds
        GROUP BY id
    ),
    centres AS (SELECT cluster, count() AS pictures, avgForEach(vector) AS centre FROM assigned GROUP BY cluster),
    (SELECT avgForEach(image_embedding) FROM laion) AS middle
SELECT
    argMin(caption, cosineDistance(text_embedding, arrayMap((one, all) -> one - all, centre, middle))) AS name,
    any(pictures) AS pictures
FROM centres
CROSS JOIN (SELECT caption, text_embedding FROM laion WHERE caption != '' ORDER BY cityHash64(id) LIMIT 1000) AS captions
GROUP BY cluster
ORDER BY pictures DESC, name;
