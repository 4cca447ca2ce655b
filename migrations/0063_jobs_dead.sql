-- no-transaction
-- The dead set, newest first, however many jobs went well since. Jobs that go well never touch it.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_dead ON jobs (id) WHERE state IN ('discarded', 'cancelled');
