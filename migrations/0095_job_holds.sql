-- Unique keys that are held for a time. Kinds that hold none for longer than their jobs are open have no rows here.

CREATE TABLE job_holds (
    kind   text NOT NULL,
    key    text NOT NULL,
    -- Whose enqueue took the key.
    job_id bigint,
    -- Once this has passed, the row holds nothing. Whoever enqueues locks the row first, and says last until when.
    until  timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (kind, key),
    CONSTRAINT job_holds_by_a_job CHECK (job_id IS NOT NULL OR until = '-infinity')
);

-- What the leader may remove.
CREATE INDEX job_holds_until ON job_holds (until);
