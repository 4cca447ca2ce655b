-- no-transaction
-- The dead set, newest first. Jobs that go well never touch it.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_dead_set ON jobs (id) WHERE dispatched_at IS NULL AND finalized_at IS NOT NULL;
