-- no-transaction
-- The audit log over all annotators, newest first; times and ids alone lead to a page.
CREATE INDEX CONCURRENTLY IF NOT EXISTS annotation_events_newest ON annotation_events (received_at DESC, id DESC);
