-- no-transaction
-- The newest evaluations, for the quality page.
CREATE INDEX CONCURRENTLY IF NOT EXISTS gold_results_recent ON gold_results (evaluated_at DESC) WHERE score IS NOT NULL;
