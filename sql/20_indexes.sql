-- Vector index over the pictures
ALTER TABLE {{ stored_table }}{{ on_cluster }}
    ADD INDEX IF NOT EXISTS image_index image_embedding
    TYPE vector_similarity('hnsw', 'cosineDistance', {{ dimension }}, {{ quantization | literal }}, {{ m }}, {{ ef_construction }});

-- Vector index over the captions
ALTER TABLE {{ stored_table }}{{ on_cluster }}
    ADD INDEX IF NOT EXISTS text_index text_embedding
    TYPE vector_similarity('hnsw', 'cosineDistance', {{ dimension }}, {{ quantization | literal }}, {{ m }}, {{ ef_construction }});

-- Build the picture index for the rows that are there; progress is in system.mutations
ALTER TABLE {{ stored_table }}{{ on_cluster }} MATERIALIZE INDEX image_index;

-- Build the caption index for the rows that are there
ALTER TABLE {{ stored_table }}{{ on_cluster }} MATERIALIZE INDEX text_index;
