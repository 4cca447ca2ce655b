-- no-transaction
-- A task's work goes on in a workflow once.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS tasks_upstream_once ON tasks (source_task_id, workflow_id) WHERE origin = 'upstream';
