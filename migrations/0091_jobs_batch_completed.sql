-- no-transaction
-- What the jobs of a batch returned.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_batch_completed ON jobs (batch_id) WHERE batch_id IS NOT NULL AND state = 'completed';
