-- Hybrid search: what an image shows and the words of its caption, combined by reciprocal rank fusion
SELECT url, caption, round(distance, 3) AS distance, round(score, 4) AS score
FROM search_hybrid(query = 'a happy face with tears', k = 10);
