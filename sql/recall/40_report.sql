-- Recall of each variant: the share of the true neighbours that it has found
SELECT variant, count() / (SELECT count() FROM {{ scratch('found') }} WHERE variant = '') AS recall
FROM {{ scratch('found') }}
WHERE variant != '' AND (n, id) IN (SELECT n, id FROM {{ scratch('found') }} WHERE variant = '')
GROUP BY variant;
