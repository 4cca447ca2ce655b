-- What the triggers of 0037 have not seen, as `store::rollups::correct_events` adds it: one snapshot holds events and totals, and
-- others go on counting meanwhile.
INSERT INTO event_totals AS kept (annotator_id, kind, events)
SELECT annotator_id, kind, sum(events)
FROM (SELECT annotator_id, 'annotation' AS kind, count(*) AS events FROM annotation_events GROUP BY annotator_id
      UNION ALL
      SELECT annotator_id, 'container', count(*) FROM container_events GROUP BY annotator_id
      UNION ALL
      SELECT annotator_id, kind, -events FROM event_totals) AS difference
GROUP BY annotator_id, kind HAVING sum(events) <> 0
ORDER BY annotator_id, kind
ON CONFLICT (annotator_id, kind) DO UPDATE SET events = kept.events + excluded.events;
