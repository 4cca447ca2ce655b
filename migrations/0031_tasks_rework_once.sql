-- no-transaction
-- A rejection calls for one rework.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS tasks_rework_once ON tasks (rejection_id) WHERE rejection_id IS NOT NULL;
