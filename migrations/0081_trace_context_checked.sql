-- Reads the table, holds up nobody who writes.

ALTER TABLE jobs VALIDATE CONSTRAINT jobs_trace_context_check;
