-- no-transaction
-- Batches that are over and whose project may still be in Label Studio.
CREATE INDEX CONCURRENTLY IF NOT EXISTS assignments_to_close ON assignments (annotator_id)
    WHERE closed_at IS NULL AND (status IN ('cancelled', 'failed') OR reclaimed_at IS NOT NULL);
