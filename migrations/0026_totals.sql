-- Totals of assignments and rejections by annotator, as 0008 has them for gold. What is there already is counted in the
-- same transaction: creating a trigger keeps writers out until its end, and counting takes well under a second.

CREATE TABLE annotator_assignments (
    annotator_id bigint PRIMARY KEY REFERENCES annotators (id),
    total        bigint NOT NULL,
    in_progress  bigint NOT NULL,
    completed    bigint NOT NULL,
    cancelled    bigint NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);

CREATE FUNCTION count_assignment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO annotator_assignments AS kept (annotator_id, total, in_progress, completed, cancelled)
    VALUES (
        COALESCE(NEW.annotator_id, OLD.annotator_id),
        (NEW.id IS NOT NULL)::integer - (OLD.id IS NOT NULL)::integer,
        COALESCE(NEW.status = 'in_progress', false)::integer - COALESCE(OLD.status = 'in_progress', false)::integer,
        COALESCE(NEW.status = 'completed', false)::integer - COALESCE(OLD.status = 'completed', false)::integer,
        COALESCE(NEW.status = 'cancelled', false)::integer - COALESCE(OLD.status = 'cancelled', false)::integer
    )
    ON CONFLICT (annotator_id) DO UPDATE
    SET total = kept.total + excluded.total, in_progress = kept.in_progress + excluded.in_progress,
        completed = kept.completed + excluded.completed, cancelled = kept.cancelled + excluded.cancelled;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER assignments_counted AFTER INSERT OR DELETE OR UPDATE OF status ON assignments
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION count_assignment();

INSERT INTO annotator_assignments
SELECT annotator_id, count(*), count(*) FILTER (WHERE status = 'in_progress'),
       count(*) FILTER (WHERE status = 'completed'), count(*) FILTER (WHERE status = 'cancelled')
FROM assignments GROUP BY annotator_id;

-- By whose work was rejected. `reworks` are those that came back as a task of another workflow.
CREATE TABLE annotator_rejections (
    annotator_id bigint PRIMARY KEY REFERENCES annotators (id),
    rejections   bigint NOT NULL,
    reworks      bigint NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);

CREATE FUNCTION is_rework(status text, action_taken text) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$
    SELECT COALESCE(status = 'routed' AND action_taken = 'route_to_workflow', false)
$$;

CREATE FUNCTION count_rejection() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO annotator_rejections AS kept (annotator_id, rejections, reworks)
    VALUES (
        COALESCE(NEW.original_annotator_id, OLD.original_annotator_id),
        COALESCE(NEW.status <> 'withdrawn', false)::integer - COALESCE(OLD.status <> 'withdrawn', false)::integer,
        is_rework(NEW.status, NEW.action_taken)::integer - is_rework(OLD.status, OLD.action_taken)::integer
    )
    ON CONFLICT (annotator_id) DO UPDATE
    SET rejections = kept.rejections + excluded.rejections, reworks = kept.reworks + excluded.reworks;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER rejections_counted AFTER INSERT OR DELETE OR UPDATE OF status, action_taken ON rejections
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION count_rejection();

INSERT INTO annotator_rejections
SELECT original_annotator_id, count(*) FILTER (WHERE status <> 'withdrawn'),
       count(*) FILTER (WHERE is_rework(status, action_taken))
FROM rejections GROUP BY original_annotator_id;
