-- no-transaction
-- A rejection calls for one rework.
CREATE UNIQUE INDEX CONCURRENTLY tasks_rework_once ON tasks (rejection_id) WHERE rejection_id IS NOT NULL;
