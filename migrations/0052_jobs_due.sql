-- no-transaction
-- Due jobs by level, as they are taken without Redis; those with a concurrency key come by their key.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_due ON jobs (queue, priority, id) WHERE state = 'available' AND concurrency_key IS NULL;
