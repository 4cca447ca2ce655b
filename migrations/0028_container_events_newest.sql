-- no-transaction
-- The audit log over all annotators, newest first; times and ids alone lead to a page.
CREATE INDEX CONCURRENTLY IF NOT EXISTS container_events_newest ON container_events (created_at DESC, id DESC);
