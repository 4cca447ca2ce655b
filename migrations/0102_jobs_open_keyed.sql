-- no-transaction
-- The first due jobs of each concurrency key, key by key.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_open_keyed ON jobs (queue, concurrency_key, priority, id) WHERE dispatched_at IS NOT NULL AND finalized_at IS NULL AND concurrency_key IS NOT NULL;
