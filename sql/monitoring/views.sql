-- A server has no query_log before its first entry is written
SYSTEM FLUSH LOGS;

-- The functions as ClickHouse has loaded them, or why it could not (ClickHouse 26.2 and newer)
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

-- Totals of all executable functions since the server started (counters of ClickHouse 26.9)
CREATE OR REPLACE VIEW clip_counters AS
SELECT
    maxIf(value, event = 'ExecutableUserDefinedFunctionInvocations') AS calls,
    maxIf(value, event = 'ExecutableUserDefinedFunctionElapsedMicroseconds') / 1e6 AS seconds,
    maxIf(value, event = 'ExecutableUserDefinedFunctionPoolWaitMicroseconds') / 1e6 AS seconds_waiting,
    maxIf(value, event = 'ExecutableUserDefinedFunctionInputBytes') AS bytes_sent,
    maxIf(value, event = 'ExecutableUserDefinedFunctionOutputBytes') AS bytes_received,
    maxIf(value, event = 'ExecuteShellCommand') AS workers_started
FROM system.events;

-- Queries of the last 30 days that called the functions: time spent, time waiting for a free worker, and outcome. The
-- cause is set only where a call failed, from the sentences with which ClickHouse reports a worker: what an analyst's
-- own throwIf() says is not taken for one.
CREATE OR REPLACE VIEW clip_queries AS
WITH
    -- ClickHouse 26.9 wraps what older versions say in an error of its own.
    concat(
        '^Code: \\d+\\. DB::Exception: (Received from \\S+ DB::Exception: )?',
        '(User defined function \'\\w+\' failed\\. Command: .*? Original error: Code: \\d+\\. DB::Exception: )?') AS preamble,
    replaceRegexpOne(exception, preamble, '') AS said,
    extract(said, '^(?:Child process was exited with return code \\d+: Stderr|Executable generates stderr): ([^\\n]*)') AS told
SELECT
    event_time,
    user,
    query_id,
    arrayFilter(name -> name IN (SELECT name FROM clip_functions), used_executable_user_defined_functions) AS functions,
    query_duration_ms AS milliseconds,
    ProfileEvents['ExecutableUserDefinedFunctionElapsedMicroseconds'] / 1000 AS encoding_milliseconds,
    ProfileEvents['ExecutableUserDefinedFunctionPoolWaitMicroseconds'] / 1000 AS waiting_milliseconds,
    exception_code,
    multiIf(
        exception LIKE '%throwIf%', '',
        told != '', replaceRegexpOne(told, ': (?:While|while) (?:processing|executing) .*$', ''),
        extract(said, concat(
            '^(Child process was terminated by signal \\d+',
            '|Child process was exited with return code \\d+',
            '|Pipe read timeout exceeded \\d+ milliseconds',
            '|Could not get process from pool',
            '|Executable file \\S+ does not exist',
            '|Cannot write into pipe',
            '|Cannot read from pipe)'))) AS cause,
    exception,
    query
FROM system.query_log
WHERE event_date >= today() - 30 AND type != 'QueryStart' AND notEmpty(functions);

-- Why calls failed in the last 7 days, one row for each cause, the most frequent first; docs/messages.md says what to do.
-- Values and numbers of rows are replaced by …, so that one cause is one row; a signal keeps its number.
CREATE OR REPLACE VIEW clip_failures AS
SELECT
    if(match(cause, '^\\w+: '), replaceRegexpAll(cause, '(\'(?:[^\'\\\\]|\\\\.)*\'|"(?:[^"\\\\]|\\\\.)*"|\\b[0-9]+\\b)', '…'), cause) AS message,
    count() AS queries,
    uniqExact(user) AS users,
    min(event_time) AS first,
    max(event_time) AS latest,
    argMax(query_id, event_time) AS latest_query_id
FROM clip_queries
WHERE cause != '' AND event_time >= now() - INTERVAL 7 DAY
GROUP BY message
ORDER BY queries DESC;
