-- How many events there are, by annotator and source: the audit log tells its total without counting. The tables themselves
-- keep it, whoever writes them. What is there already is added by 0038, which keeps nobody waiting.

-- A row a source: a row for both would be held by whoever takes in annotations while they wait for the annotator's own row, and
-- waited for by those who hold that one.
CREATE TABLE event_totals (
    annotator_id bigint NOT NULL REFERENCES annotators (id),
    kind         text NOT NULL CHECK (kind IN ('annotation', 'container')),
    events       bigint NOT NULL,
    PRIMARY KEY (annotator_id, kind)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);

-- Once a statement, as one webhook may tell of thousands. The row is held until the transaction ends, and only by one who
-- holds the lock on this annotator's events.
CREATE FUNCTION count_annotation_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO event_totals AS kept (annotator_id, kind, events)
    SELECT annotator_id, 'annotation', CASE TG_OP WHEN 'INSERT' THEN count(*) ELSE -count(*) END
    FROM written GROUP BY annotator_id ORDER BY annotator_id
    ON CONFLICT (annotator_id, kind) DO UPDATE SET events = kept.events + excluded.events;
    RETURN NULL;
END
$$;
CREATE TRIGGER annotation_events_counted AFTER INSERT ON annotation_events
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION count_annotation_events();
CREATE TRIGGER annotation_events_uncounted AFTER DELETE ON annotation_events
    REFERENCING OLD TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION count_annotation_events();

-- Few a transaction, and written in the midst of it: counted at its end, as the other totals are.
CREATE FUNCTION count_container_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO event_totals AS kept (annotator_id, kind, events)
    VALUES (COALESCE(NEW.annotator_id, OLD.annotator_id), 'container',
            (NEW.id IS NOT NULL)::integer - (OLD.id IS NOT NULL)::integer)
    ON CONFLICT (annotator_id, kind) DO UPDATE SET events = kept.events + excluded.events;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER container_events_counted AFTER INSERT OR DELETE ON container_events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION count_container_event();
