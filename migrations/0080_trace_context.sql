-- The trace that a job was enqueued in: a W3C traceparent, which is 55 characters. Null: in none. Nullable and without
-- a default, so no row is rewritten; the check is validated after, which lets others write meanwhile.

ALTER TABLE jobs ADD COLUMN trace_context text;

ALTER TABLE jobs ADD CONSTRAINT jobs_trace_context_check CHECK (length(trace_context) BETWEEN 1 AND 100) NOT VALID;
