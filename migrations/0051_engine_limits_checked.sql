-- Reads the table, holds up nobody who writes.

ALTER TABLE jobs VALIDATE CONSTRAINT jobs_priority_check;
ALTER TABLE jobs VALIDATE CONSTRAINT jobs_flow_check;
ALTER TABLE jobs VALIDATE CONSTRAINT jobs_concurrency_check;
ALTER TABLE jobs VALIDATE CONSTRAINT jobs_rate_check;
