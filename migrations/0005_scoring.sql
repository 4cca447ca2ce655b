-- Skipped gold, and which job did what.

-- A gold task that was skipped has a row without a score: averages leave it out, and it is counted by itself.
ALTER TABLE gold_results
    ALTER COLUMN score DROP NOT NULL,
    ADD COLUMN skipped boolean NOT NULL DEFAULT false,
    -- Ids of jobs stand here without a foreign key: the engine forgets old jobs, history does not.
    ADD COLUMN job_id bigint,
    ADD CONSTRAINT gold_results_skipped_has_no_score CHECK (skipped = (score IS NULL)) NOT VALID;
ALTER TABLE gold_results VALIDATE CONSTRAINT gold_results_skipped_has_no_score;

-- Null where a person did it, or nobody yet.
ALTER TABLE assignments
    ADD COLUMN assigned_by_job bigint,
    ADD COLUMN gold_by_job bigint,
    ADD COLUMN published_by_job bigint,
    ADD COLUMN exported_by_job bigint;

ALTER TABLE assignment_tasks
    ADD COLUMN released_at timestamptz,
    ADD COLUMN released_by_job bigint;
