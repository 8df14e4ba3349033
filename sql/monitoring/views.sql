-- A server has no query_log before its first entry is written
SYSTEM FLUSH LOGS;

-- What ClickHouse has loaded of the functions, and why not (ClickHouse 26.2 and newer)
CREATE OR REPLACE VIEW clip_functions AS
SELECT
    name,
    load_status,
    loading_error_message,
    splitByChar('/', command)[2] AS model,
    pool_size,
    max_command_execution_time AS pool_wait_seconds,
    command_read_timeout AS silence_milliseconds,
    last_successful_update_time AS loaded
FROM system.user_defined_functions
WHERE command LIKE 'clip\_udfs/%';

-- What all executable functions together have done since the server started (counters of ClickHouse 26.9)
CREATE OR REPLACE VIEW clip_counters AS
SELECT
    maxIf(value, event = 'ExecutableUserDefinedFunctionInvocations') AS calls,
    maxIf(value, event = 'ExecutableUserDefinedFunctionElapsedMicroseconds') / 1e6 AS seconds,
    maxIf(value, event = 'ExecutableUserDefinedFunctionPoolWaitMicroseconds') / 1e6 AS seconds_waiting,
    maxIf(value, event = 'ExecutableUserDefinedFunctionInputBytes') AS bytes_sent,
    maxIf(value, event = 'ExecutableUserDefinedFunctionOutputBytes') AS bytes_received,
    maxIf(value, event = 'ExecuteShellCommand') AS workers_started
FROM system.events;

-- The queries that called the functions: how long they took, waited for a free worker, and what became of them
CREATE OR REPLACE VIEW clip_queries AS
SELECT
    event_time,
    user,
    query_id,
    arrayFilter(name -> name IN (SELECT name FROM clip_functions), used_executable_user_defined_functions) AS functions,
    query_duration_ms AS milliseconds,
    ProfileEvents['ExecutableUserDefinedFunctionElapsedMicroseconds'] / 1000 AS encoding_milliseconds,
    ProfileEvents['ExecutableUserDefinedFunctionPoolWaitMicroseconds'] / 1000 AS waiting_milliseconds,
    exception_code,
    extract(exception, 'Stderr: ([^\\n]*)') AS reason,
    exception,
    query
FROM system.query_log
WHERE type != 'QueryStart' AND notEmpty(functions);

-- The reasons for which calls failed, the most frequent first; docs/messages.md says what to do about each
CREATE OR REPLACE VIEW clip_failures AS
SELECT
    replaceRegexpAll(if(reason = '', extract(exception, '^[^\\n]{0,200}'), reason), '(\'[^\']*\'|[0-9]+)', '…') AS message,
    count() AS queries,
    uniqExact(user) AS users,
    max(event_time) AS latest,
    argMax(query_id, event_time) AS latest_query_id
FROM clip_queries
WHERE exception_code != 0
GROUP BY message
ORDER BY queries DESC;
