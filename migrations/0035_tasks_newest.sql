-- no-transaction
-- A workflow's tasks, the newest first.
CREATE INDEX CONCURRENTLY IF NOT EXISTS tasks_newest ON tasks (workflow_id, id);
