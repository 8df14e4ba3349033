-- Paging: the third page of ten
-- Ask for the same k on every page, the most that anybody will turn to. Then the pages follow each other without a gap, and
-- no row comes twice.
SELECT id, url, caption
FROM search_by_text(query = 'a face', k = 100)
ORDER BY distance, id
LIMIT 10 OFFSET 20;

-- Not these: the ten best that were not seen before. Ask for as many more as are left out, and none is lost
WITH [0, 1, 2] AS seen
SELECT id, url, caption
FROM search_by_text(query = 'a face', k = 13)
WHERE NOT has(seen, id)
ORDER BY distance, id
LIMIT 10;
