-- What operators read of throughput and quality, kept by the write path; and what a workflow delivers.

-- Which formats an assignment of the workflow is exported in, beside JSON, which always is.
ALTER TABLE workflows
    ADD COLUMN export_formats text[] NOT NULL DEFAULT '{json}',
    ADD CONSTRAINT workflows_export_formats_known CHECK
        (export_formats @> '{json}' AND export_formats <@ '{json,jsonl,csv,coco,yolo,voc}') NOT VALID;
ALTER TABLE workflows VALIDATE CONSTRAINT workflows_export_formats_known;

-- Uploads under way: S3 keeps the parts of one that nobody ends, and bills them, so whoever comes next ends it.
CREATE TABLE export_uploads (
    upload_id     text PRIMARY KEY,
    assignment_id bigint NOT NULL REFERENCES assignments (id),
    key           text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX export_uploads_assignment ON export_uploads (assignment_id);

-- A skip is an annotation that says nothing: throughput leaves it out.
ALTER TABLE annotation_events ADD COLUMN was_cancelled boolean NOT NULL DEFAULT false;

-- Annotations by the hour (UTC) and annotator. `store::rollups` says what counts; every row changes with the event
-- that changes it, in its transaction. Half of a page is left free so that counting rewrites no index.
CREATE TABLE annotation_hours (
    hour         timestamptz NOT NULL CHECK (hour = date_trunc('hour', hour, 'UTC')),
    annotator_id bigint NOT NULL REFERENCES annotators (id),
    annotations  bigint NOT NULL,
    -- Sum over those that told their lead time, which are those in one of the four buckets.
    lead_time_ms bigint NOT NULL,
    under_10s    bigint NOT NULL,
    under_30s    bigint NOT NULL,
    under_60s    bigint NOT NULL,
    from_60s     bigint NOT NULL,
    PRIMARY KEY (hour, annotator_id)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);

-- Gold by annotator, over all time. Skipped gold is counted apart. A numeric sum neither drifts nor depends on order.
CREATE TABLE annotator_gold (
    annotator_id bigint PRIMARY KEY REFERENCES annotators (id),
    evaluations  bigint NOT NULL,
    skipped      bigint NOT NULL,
    score_sum    numeric NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);

-- Results are written, changed and taken back in several places: the table itself sees to it that the totals follow.
CREATE FUNCTION count_gold_result() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO annotator_gold AS kept (annotator_id, evaluations, skipped, score_sum)
    VALUES (
        COALESCE(NEW.annotator_id, OLD.annotator_id),
        (NEW.score IS NOT NULL)::integer - (OLD.score IS NOT NULL)::integer,
        COALESCE(NEW.skipped, false)::integer - COALESCE(OLD.skipped, false)::integer,
        COALESCE(NEW.score, 0)::numeric - COALESCE(OLD.score, 0)::numeric
    )
    ON CONFLICT (annotator_id) DO UPDATE
    SET evaluations = kept.evaluations + excluded.evaluations, skipped = kept.skipped + excluded.skipped,
        score_sum = kept.score_sum + excluded.score_sum;
    RETURN NULL;
END
$$;
-- At the end of the transaction, so that totals are locked last and briefly.
CREATE CONSTRAINT TRIGGER gold_results_counted AFTER INSERT OR DELETE OR UPDATE OF score, skipped ON gold_results
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION count_gold_result();
