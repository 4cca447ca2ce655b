-- What was there before the rollups: apart from 0008, whose brief locks must not last as long as this reading does.
-- Events and results of processes that are still of the version before are made good by the job `correct_rollups`.

UPDATE annotation_events SET was_cancelled = true
FROM annotations
WHERE annotations.was_cancelled AND NOT annotation_events.was_cancelled AND annotation_events.action <> 'deleted'
  AND annotations.annotator_id = annotation_events.annotator_id
  AND annotations.ls_annotation_id = annotation_events.ls_annotation_id
  AND annotations.ls_updated_at = annotation_events.occurred_at;

INSERT INTO annotation_hours AS kept
SELECT date_trunc('hour', occurred_at, 'UTC') AS hour, annotator_id, count(*), COALESCE(sum(lead_time_ms), 0),
       count(*) FILTER (WHERE lead_time_ms < 10000),
       count(*) FILTER (WHERE lead_time_ms >= 10000 AND lead_time_ms < 30000),
       count(*) FILTER (WHERE lead_time_ms >= 30000 AND lead_time_ms < 60000),
       count(*) FILTER (WHERE lead_time_ms >= 60000)
FROM (
    SELECT DISTINCT ON (annotator_id, ls_annotation_id) annotator_id, occurred_at, lead_time_ms
    FROM annotation_events
    WHERE action <> 'deleted' AND NOT was_cancelled AND assignment_task_id IS NOT NULL
    ORDER BY annotator_id, ls_annotation_id, occurred_at, action
) AS first_told
GROUP BY 1, 2
ON CONFLICT (hour, annotator_id) DO NOTHING;

INSERT INTO annotator_gold
SELECT annotator_id, count(score), count(*) FILTER (WHERE skipped), COALESCE(sum(score::numeric), 0)
FROM gold_results GROUP BY annotator_id
ON CONFLICT (annotator_id) DO NOTHING;
