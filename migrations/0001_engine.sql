-- The job engine's own tables. Nothing here knows of labeling, and no foreign key leads out of this file.

CREATE TABLE jobs (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind          text NOT NULL CHECK (length(kind) BETWEEN 1 AND 100),
    queue         text NOT NULL CHECK (length(queue) BETWEEN 1 AND 100),
    args          jsonb NOT NULL,
    state         text NOT NULL DEFAULT 'available',
    -- Raised by each claim and never lowered: with the id it is the fence that a finish must show.
    attempt       integer NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    -- A snooze or a release raises this by one, so that it costs no attempt and the fence still only grows.
    max_attempts  integer NOT NULL CHECK (max_attempts >= 1),
    unique_key    text,
    -- The run's lease is its worker's lease: one row is renewed however many jobs run.
    worker_id     uuid,
    result        jsonb,
    scheduled_at  timestamptz NOT NULL DEFAULT now(),
    -- When the id was last pushed to Redis; enqueueing counts as the first time.
    dispatched_at timestamptz NOT NULL DEFAULT now(),
    created_at    timestamptz NOT NULL DEFAULT now(),
    attempted_at  timestamptz,
    finalized_at  timestamptz,

    CONSTRAINT jobs_state_check CHECK (state IN
        ('scheduled', 'available', 'running', 'retryable', 'completed', 'cancelled', 'discarded')),
    CONSTRAINT jobs_running_has_worker CHECK ((state = 'running') = (worker_id IS NOT NULL)),
    CONSTRAINT jobs_final_has_time CHECK
        ((state IN ('completed', 'cancelled', 'discarded')) = (finalized_at IS NOT NULL)),
    CONSTRAINT jobs_running_was_claimed CHECK (state <> 'running' OR (attempt > 0 AND attempted_at IS NOT NULL)),
    CONSTRAINT jobs_attempts_bounded CHECK (attempt <= max_attempts),
    CONSTRAINT jobs_waiting_has_attempts CHECK
        (state NOT IN ('scheduled', 'available', 'retryable') OR attempt < max_attempts)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

-- The relay and the Postgres fallback take due work from here, oldest first.
CREATE INDEX jobs_available ON jobs (queue, id) WHERE state = 'available';
-- What becomes due by time.
CREATE INDEX jobs_timed ON jobs (scheduled_at) WHERE state IN ('scheduled', 'retryable');
-- What a lost worker leaves behind.
CREATE INDEX jobs_running ON jobs (worker_id) WHERE state = 'running';
-- Retention.
CREATE INDEX jobs_final ON jobs (state, finalized_at) WHERE finalized_at IS NOT NULL;
-- While such a job is open, a second enqueue finds the first.
CREATE UNIQUE INDEX jobs_unique_open ON jobs (kind, unique_key)
    WHERE unique_key IS NOT NULL AND state IN ('scheduled', 'available', 'running', 'retryable');

-- One row for every attempt that did not complete; a success leaves none.
CREATE TABLE job_attempts (
    job_id      bigint NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt     integer NOT NULL,
    worker_id   uuid,
    started_at  timestamptz,
    finished_at timestamptz NOT NULL DEFAULT now(),
    outcome     text NOT NULL CHECK (outcome IN ('retry', 'discard', 'snooze', 'panic', 'timeout', 'lost', 'released')),
    error       text,
    PRIMARY KEY (job_id, attempt)
);

CREATE TABLE workers (
    id           uuid PRIMARY KEY,
    name         text NOT NULL,
    queues       text[] NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now(),
    lease_until  timestamptz NOT NULL
);

CREATE TABLE schedules (
    name       text PRIMARY KEY,
    cron       text NOT NULL,
    kind       text NOT NULL,
    next_at    timestamptz NOT NULL,
    last_at    timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- A tick fires when its row is inserted; the key makes that once.
CREATE TABLE schedule_ticks (
    schedule text NOT NULL,
    tick     timestamptz NOT NULL,
    job_id   bigint NOT NULL,
    PRIMARY KEY (schedule, tick)
);
