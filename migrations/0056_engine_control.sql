-- What operators may tell running workers, what running jobs tell operators, and schedules of a time zone. Constant
-- defaults, so no row is rewritten; checks are validated after, which lets others write meanwhile.

-- A queue without a row runs.
CREATE TABLE queues (
    name      text PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 100),
    -- Since when no worker takes jobs from it; null: they do.
    paused_at timestamptz,
    paused_by text,
    CONSTRAINT queues_paused_by_check CHECK (paused_by IS NULL OR paused_at IS NOT NULL)
);

ALTER TABLE jobs
    -- The running job was asked to stop.
    ADD COLUMN cancel_requested_at timestamptz,
    -- As far as the handler says it has come: 0 to 1.
    ADD COLUMN progress            real;

ALTER TABLE jobs ADD CONSTRAINT jobs_progress_check CHECK (progress BETWEEN 0 AND 1) NOT VALID;

-- What handlers say of their runs: the newest lines of a job, numbered from 1 in each attempt.
CREATE TABLE job_logs (
    job_id  bigint NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt integer NOT NULL,
    number  integer NOT NULL,
    at      timestamptz NOT NULL DEFAULT now(),
    line    text NOT NULL,
    PRIMARY KEY (job_id, attempt, number)
);

ALTER TABLE job_attempts
    DROP CONSTRAINT job_attempts_outcome_check,
    ADD CONSTRAINT job_attempts_outcome_check CHECK (outcome IN
        ('retry', 'discard', 'snooze', 'panic', 'timeout', 'lost', 'released', 'cancelled')) NOT VALID;

ALTER TABLE schedules
    -- The cron expression is of this zone's clock.
    ADD COLUMN time_zone        text NOT NULL DEFAULT 'UTC',
    -- What becomes of ticks that nobody fired in time: none, one for all, or each.
    ADD COLUMN catch_up         text NOT NULL DEFAULT 'once',
    ADD COLUMN paused_at        timestamptz,
    -- An operator wants it to fire once now.
    ADD COLUMN run_requested_at timestamptz;

ALTER TABLE schedules
    ADD CONSTRAINT schedules_catch_up_check CHECK (catch_up IN ('skip', 'once', 'all')) NOT VALID;
