-- no-transaction
-- What of a batch is not completed.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_batch_rest ON jobs (batch_id) WHERE batch_id IS NOT NULL AND (finalized_at IS NULL OR dispatched_at IS NULL);
