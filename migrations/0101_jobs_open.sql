-- no-transaction
-- Due and running jobs by level; those with a concurrency key come by their key.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_open ON jobs (queue, priority, id) WHERE dispatched_at IS NOT NULL AND finalized_at IS NULL AND concurrency_key IS NULL;
