-- no-transaction
-- It spoke of `state`, so no claim was HOT (0100). What a batch returned is found by `jobs_batch`.
DROP INDEX CONCURRENTLY IF EXISTS jobs_batch_completed;
