-- Paging: the third page of ten
-- Use the same k on every page, large enough for the last one. Then no row is skipped and none appears twice.
SELECT id, url, caption
FROM search_by_text(query = 'a face', k = 100)
ORDER BY distance, id
LIMIT 10 OFFSET 20;

-- Skip rows: the ten best that were not seen before. Increase k by the number of skipped rows
WITH [0, 1, 2] AS seen
SELECT id, url, caption
FROM search_by_text(query = 'a face', k = 13)
WHERE NOT has(seen, id)
ORDER BY distance, id
LIMIT 10;
