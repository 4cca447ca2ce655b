-- no-transaction
-- What went well, by when: for retention and for the pace of queues.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_completed ON jobs (finalized_at) WHERE dispatched_at IS NOT NULL AND finalized_at IS NOT NULL;
