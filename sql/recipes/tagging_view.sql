-- A materialized view that tags: every inserted row gets the best two of a list of tags
-- Tags differ in how similar they are to images in general, so each is stored with its mean and deviation over some images
CREATE OR REPLACE TABLE recipe_tags (tag String, vector Array(Float32), usual Float32, spread Float32)
ENGINE = MergeTree ORDER BY tag;

-- A phrase around the word helps the model. Changes of this table apply to rows inserted later
INSERT INTO recipe_tags
SELECT tag, any(vector), avg(1 - cosineDistance(image_embedding, vector)), stddevPop(1 - cosineDistance(image_embedding, vector))
FROM
(
    SELECT tag, encode_text('a picture of ' || tag) AS vector
    FROM (SELECT arrayJoin(['an animal', 'food', 'a plant', 'a vehicle', 'a face', 'a building', 'a flag', 'clothes', 'a symbol']) AS tag)
) AS tags
CROSS JOIN (SELECT image_embedding FROM laion ORDER BY cityHash64(id) LIMIT 1000) AS pictures
GROUP BY tag;

-- The inserted rows
CREATE OR REPLACE TABLE recipe_pictures (id Int64, url String, image_embedding Array(Float32)) ENGINE = Null;

-- One row for each image and tag; deviations: how unusually well the tag fits
CREATE OR REPLACE TABLE recipe_tagged (id Int64, url String, tag String, deviations Float32) ENGINE = MergeTree ORDER BY (tag, id);

-- There are few tags, so each inserted image is compared with every vector of theirs
CREATE MATERIALIZED VIEW recipe_tagger TO recipe_tagged AS
SELECT id, url, tag, (1 - cosineDistance(image_embedding, vector) - usual) / spread AS deviations
FROM recipe_pictures
CROSS JOIN recipe_tags
ORDER BY id, deviations DESC
LIMIT 2 BY id;

-- Forty pictures of the table once more
INSERT INTO recipe_pictures SELECT id, url, image_embedding FROM laion ORDER BY cityHash64(id) LIMIT 40;

-- How often each tag was given, and the picture that fits it best
SELECT tag, count() AS pictures, argMax(url, deviations) AS best FROM recipe_tagged GROUP BY tag ORDER BY pictures DESC, tag;

-- Clean up
DROP VIEW recipe_tagger;

-- Drop the tables too
DROP TABLE recipe_tags, recipe_pictures, recipe_tagged;
