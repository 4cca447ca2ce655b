-- no-transaction
-- Running jobs that were asked to stop.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_stopping ON jobs (id) WHERE cancel_requested_at IS NOT NULL AND finalized_at IS NULL;
