-- no-transaction
-- Decisions of a workflow's reviews, counted without reading the batches.
CREATE INDEX CONCURRENTLY IF NOT EXISTS assignment_tasks_reviewed ON assignment_tasks (assignment_id, review_decision) WHERE review_decision IS NOT NULL;
