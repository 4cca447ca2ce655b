-- no-transaction
-- A workflow's tasks in a state, the newest first.
CREATE INDEX CONCURRENTLY IF NOT EXISTS tasks_status_newest ON tasks (workflow_id, status, id);
