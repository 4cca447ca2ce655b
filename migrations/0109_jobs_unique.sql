-- no-transaction
-- While such a job is open, a second enqueue finds the first.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS jobs_unique ON jobs (kind, unique_key) WHERE unique_key IS NOT NULL AND finalized_at IS NULL;
