-- How many images show a dog? This reads every vector, and counts the rows that are more likely a match than not
SELECT count() AS pictures, round(min(relevance), 2) AS least_relevance
FROM search_relevant_by_text(query = 'a dog', k = 1000000, min_relevance = 0.5);

-- The doubtful ones: look at them to see how far the count can be trusted
SELECT url, caption, round(relevance, 2) AS relevance
FROM search_relevant_by_text(query = 'a dog', k = 1000000, min_relevance = 0.3)
ORDER BY relevance, id
LIMIT 10;
