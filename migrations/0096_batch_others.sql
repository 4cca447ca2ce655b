-- A batch also waits for jobs of others: those that held the unique keys of its own when it was enqueued.

CREATE TABLE job_batch_others (
    batch_id bigint NOT NULL REFERENCES job_batches (id) ON DELETE CASCADE,
    job_id   bigint NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    PRIMARY KEY (batch_id, job_id)
);

CREATE INDEX job_batch_others_job ON job_batch_others (job_id);
