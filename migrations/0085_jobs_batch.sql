-- no-transaction
-- All jobs of a batch, by id: for operators, and for whoever removes batches that nothing is left of.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_batch ON jobs (batch_id, id) WHERE batch_id IS NOT NULL;
