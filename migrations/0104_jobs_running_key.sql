-- no-transaction
-- How many jobs of a concurrency key run.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_running_key ON jobs (running_key) WHERE running_key IS NOT NULL;
