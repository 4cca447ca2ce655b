-- no-transaction
-- What waits for one annotator.
CREATE INDEX CONCURRENTLY IF NOT EXISTS tasks_reserved ON tasks (reserved_for, workflow_id) WHERE status = 'available' AND reserved_for IS NOT NULL;
