-- Pictures of a sample whose files can be read, encoded again and held against the vectors that are stored
SELECT
    count() AS compared,
    any(length(stored)) AS stored_dimension,
    any(length(encoded)) AS encoded_dimension,
    median(cosine) AS median_cosine,
    min(cosine) AS least_cosine,
    median(L2Norm(stored)) AS stored_norm,
    median(L2Norm(encoded)) AS encoded_norm
FROM
(
    SELECT
        stored,
        encoded,
        -- Vectors of different lengths have no cosine, and ClickHouse refuses them even in a branch that is not taken.
        if(length(stored) = length(encoded), dotProduct(stored, arrayResize(encoded, length(stored))) / (L2Norm(stored) * L2Norm(encoded)), 0) AS cosine
    FROM
    (
        SELECT stored, {{ function('try_encode_image') }}(url) AS encoded
        FROM
        (
            SELECT url, image_embedding AS stored
            FROM {{ table }}
            WHERE url != '' AND url NOT LIKE 'http%://%'
            ORDER BY cityHash64(id)
            LIMIT {{ sample }}
        )
    )
    WHERE notEmpty(encoded)
);
