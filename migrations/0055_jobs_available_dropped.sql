-- no-transaction
-- jobs_due and jobs_due_keyed took its place.
DROP INDEX CONCURRENTLY IF EXISTS jobs_available;
