-- no-transaction
-- What a task's work went on in: the next in a chain, its reviews, its rework.
CREATE INDEX CONCURRENTLY IF NOT EXISTS tasks_source ON tasks (source_task_id) WHERE source_task_id IS NOT NULL;
