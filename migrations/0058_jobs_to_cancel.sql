-- no-transaction
-- Running jobs that were asked to stop, for the worker that runs them.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_to_cancel ON jobs (worker_id) WHERE state = 'running' AND cancel_requested_at IS NOT NULL;
