-- no-transaction
-- How many jobs of a concurrency key run.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_running_keyed ON jobs (concurrency_key) WHERE state = 'running' AND concurrency_key IS NOT NULL;
