-- no-transaction
-- Whom nothing was heard of for longest.
CREATE INDEX CONCURRENTLY IF NOT EXISTS assignments_idle ON assignments (active_at) WHERE status IN ('pending', 'in_progress');
