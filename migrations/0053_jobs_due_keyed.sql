-- no-transaction
-- The first due jobs of each concurrency key, key by key.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_due_keyed ON jobs (queue, concurrency_key, priority, id) WHERE state = 'available' AND concurrency_key IS NOT NULL;
