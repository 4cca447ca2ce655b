-- Batches, and jobs that wait for others. Who waits is `scheduled` for never; the leader and whoever ends a job that is
-- waited for make it due.

CREATE TABLE job_batches (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE jobs
    ADD COLUMN batch_id   bigint,
    -- Another job may wait for this one: its end is looked after at once.
    ADD COLUMN is_awaited boolean NOT NULL DEFAULT false;

-- A row is what a job still waits for; it goes when that has come.
CREATE TABLE job_waits (
    job_id   bigint NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    on_job   bigint,
    on_batch bigint REFERENCES job_batches (id),
    -- Of a batch: that all are completed, or that one is discarded or cancelled.
    until    text NOT NULL CHECK (until IN ('completed', 'failed')),
    CONSTRAINT job_waits_one_thing CHECK ((on_job IS NULL) <> (on_batch IS NULL)),
    CONSTRAINT job_waits_once UNIQUE NULLS NOT DISTINCT (job_id, on_job, on_batch)
);

CREATE INDEX job_waits_on_job ON job_waits (on_job) WHERE on_job IS NOT NULL;
CREATE INDEX job_waits_on_batch ON job_waits (on_batch) WHERE on_batch IS NOT NULL;
