-- A claim writes nothing that an index holds, so Postgres keeps the row's new version on the same page and touches no
-- index (HOT). For that no index may speak of `state`, `attempt`, `worker_id` or `attempted_at`. The indexes of the next
-- files tell jobs apart by two times that a claim leaves alone:
--
--                   dispatched_at   finalized_at
--   due or running       set             null
--   to be due later      null            null
--   completed            set             set
--   dead set             null            set
--
-- Processes of the version before can't enqueue or end jobs from 0110 on: stop them first.

ALTER TABLE jobs
    ALTER COLUMN dispatched_at DROP NOT NULL,
    -- The concurrency key while the job runs.
    ADD COLUMN running_key text,
    -- Room for two more versions of each row: its claim and its end.
    SET (fillfactor = 50);

UPDATE jobs SET dispatched_at = NULL
WHERE state IN ('scheduled', 'retryable', 'discarded', 'cancelled') AND dispatched_at IS NOT NULL;
UPDATE jobs SET running_key = concurrency_key WHERE state = 'running' AND concurrency_key IS NOT NULL;

-- Which jobs a worker has claimed, a row for each claim: it stands in for an index of running jobs. Some may have ended
-- since; a row in which all have is removed by the worker, or by the leader if that was lost.
CREATE TABLE job_claims (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    worker_id  uuid NOT NULL,
    ids        bigint[] NOT NULL,
    claimed_at timestamptz NOT NULL DEFAULT now()
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

CREATE INDEX job_claims_worker ON job_claims (worker_id);

INSERT INTO job_claims (worker_id, ids)
SELECT worker_id, array_agg(id) FROM jobs WHERE state = 'running' GROUP BY worker_id;

-- The state machine in one place; it replaces one check for each rule.
ALTER TABLE jobs ADD CONSTRAINT jobs_state_is_whole CHECK (
    CASE state
    WHEN 'available' THEN dispatched_at IS NOT NULL AND finalized_at IS NULL AND worker_id IS NULL AND attempt < max_attempts
    WHEN 'running' THEN dispatched_at IS NOT NULL AND finalized_at IS NULL AND worker_id IS NOT NULL
                        AND attempted_at IS NOT NULL AND attempt BETWEEN 1 AND max_attempts
    WHEN 'completed' THEN dispatched_at IS NOT NULL AND finalized_at IS NOT NULL AND worker_id IS NULL
                          AND attempt <= max_attempts
    WHEN 'scheduled' THEN dispatched_at IS NULL AND finalized_at IS NULL AND worker_id IS NULL AND attempt < max_attempts
    WHEN 'retryable' THEN dispatched_at IS NULL AND finalized_at IS NULL AND worker_id IS NULL AND attempt < max_attempts
    WHEN 'cancelled' THEN dispatched_at IS NULL AND finalized_at IS NOT NULL AND worker_id IS NULL AND attempt <= max_attempts
    WHEN 'discarded' THEN dispatched_at IS NULL AND finalized_at IS NOT NULL AND worker_id IS NULL AND attempt <= max_attempts
    ELSE false END) NOT VALID;
