-- Fill a seeded 2.16 database as years of work do: half a million rows of history, and logs of jobs that do not compress.
-- psql -v megabytes=N; run as PostgreSQL's administrator, while the service may run.
\set ON_ERROR_STOP on
SET synchronous_commit = off;
INSERT INTO historyunit (history_run_id, logfile, status, zarr_urls)
SELECT (SELECT min(id) FROM historyrun), '/data/jobs/proj_1/job_' || n || '/0_task/' || md5(n::text) || '.log', 'done',
       ARRAY['/data/zarr/plate_' || n % 100 || '.zarr/B/03/' || md5(n::text)]
FROM generate_series(1, 500000) AS n;
CREATE FUNCTION pg_temp.noise(lines int) RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT string_agg(encode(sha512(random()::text::bytea), 'base64'), '') FROM generate_series(1, lines)
$$;
INSERT INTO jobv2 (project_id, workflow_id, dataset_id, user_email, dataset_dump, workflow_dump, project_dump,
                   first_task_index, last_task_index, start_timestamp, end_timestamp, status, log)
SELECT project_id, workflow_id, dataset_id, user_email, dataset_dump, workflow_dump, project_dump,
       first_task_index, last_task_index, start_timestamp, end_timestamp, 'done', pg_temp.noise(11800)
FROM jobv2, generate_series(1, greatest(0, :megabytes - 130)) AS n
WHERE jobv2.id = (SELECT min(id) FROM jobv2 WHERE status = 'done');
VACUUM ANALYZE;
CHECKPOINT;
SELECT pg_database_size(current_database());
