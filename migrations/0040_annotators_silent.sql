-- Since when the annotator's instance runs and does not answer; null while it does.
ALTER TABLE annotators ADD COLUMN silent_since timestamptz;
