-- Exports that were begun and have not ended: what their files are made of, decided once for all of them.

CREATE TABLE exports_under_way (
    assignment_id bigint PRIMARY KEY REFERENCES assignments (id),
    -- The engine's batch of the jobs that write the files. Those of any other write nothing.
    job_batch     bigint NOT NULL,
    -- The assignment's `updated_at` when it was begun.
    version       timestamptz NOT NULL,
    -- What all keys begin with.
    prefix        text NOT NULL,
    formats       text[] NOT NULL,
    config_xml    text,
    begun_at      timestamptz NOT NULL DEFAULT now()
);
