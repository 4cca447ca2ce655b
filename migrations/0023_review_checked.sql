-- Checks the rows that were there before 0006; readers and writers go on meanwhile.

ALTER TABLE workflows VALIDATE CONSTRAINT workflows_not_its_own_rework;
ALTER TABLE tasks
    VALIDATE CONSTRAINT tasks_source_task_id_fkey,
    VALIDATE CONSTRAINT tasks_source_annotation_id_fkey,
    VALIDATE CONSTRAINT tasks_rejection_id_fkey,
    VALIDATE CONSTRAINT tasks_reserved_for_fkey,
    VALIDATE CONSTRAINT tasks_not_for_fkey,
    VALIDATE CONSTRAINT tasks_origin_check,
    VALIDATE CONSTRAINT tasks_origin_has_source,
    VALIDATE CONSTRAINT tasks_iteration_check,
    VALIDATE CONSTRAINT tasks_status_check;
ALTER TABLE assignment_tasks VALIDATE CONSTRAINT assignment_tasks_review_decision_check;
