-- One search of the index alone, in the form that the guide has
WITH (SELECT embedding FROM {{ scratch('queries') }} WHERE n = {n:UInt32}) AS query
SELECT id
FROM {{ scratch(source) }}
ORDER BY cosineDistance(embedding, query)
LIMIT {{ k }};

-- One search in the form that the views have: candidates of the index, ordered by their exact distance
WITH (SELECT embedding FROM {{ scratch('queries') }} WHERE n = {n:UInt32}) AS query
SELECT id
FROM
(
    SELECT id, embedding
    FROM {{ scratch(source) }}
    ORDER BY cosineDistance(embedding, query)
    LIMIT {{ [k, [4 * k, 1000] | min] | max }}
)
ORDER BY cosineDistance(embedding, query)
LIMIT {{ k }};
