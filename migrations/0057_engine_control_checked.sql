-- Reads the tables, holds up nobody who writes.

ALTER TABLE jobs VALIDATE CONSTRAINT jobs_progress_check;
ALTER TABLE job_attempts VALIDATE CONSTRAINT job_attempts_outcome_check;
ALTER TABLE schedules VALIDATE CONSTRAINT schedules_catch_up_check;
