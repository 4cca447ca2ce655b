-- no-transaction
-- What becomes due by time.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_later ON jobs (scheduled_at) WHERE dispatched_at IS NULL AND finalized_at IS NULL;
