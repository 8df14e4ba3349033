-- The record of imported LAION parts, kept on the server that the import talks to
CREATE TABLE IF NOT EXISTS {{ imports_table }}
(
    part        UInt64,
    run         UUID,                              -- one for each beginning; names the part's inserts
    state       Enum8('started' = 1, 'finished' = 2),
    rows        UInt64,
    source      String,
    fingerprint String,                            -- of the three files: sizes and ends
    at          DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = MergeTree
ORDER BY (part, at);
