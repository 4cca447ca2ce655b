-- Work that comes from work: chained workflows, reviews, rejections and rework.
--
-- Constraints on tables that hold rows already are checked for new rows from here on; 0023 checks the old ones, in a
-- transaction of its own that locks nobody out.

CREATE INDEX workflows_rejection_route ON workflows (rejection_route_workflow_id)
    WHERE rejection_route_workflow_id IS NOT NULL;
ALTER TABLE workflows ADD CONSTRAINT workflows_not_its_own_rework
    CHECK (rejection_mode <> 'route_to_workflow' OR rejection_route_workflow_id <> id) NOT VALID;

-- Annotations that a reviewer rejected: one row a place in a batch, however often the review is changed.
CREATE TABLE rejections (
    id                     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The reviewer's side: the place in their batch, and the annotation on it that rejects.
    assignment_task_id     bigint NOT NULL CONSTRAINT rejections_assignment_task_id_key UNIQUE REFERENCES assignment_tasks (id),
    annotation_id          bigint NOT NULL CONSTRAINT rejections_annotation_id_key UNIQUE REFERENCES annotations (id),
    workflow_id            bigint NOT NULL REFERENCES workflows (id),
    reviewer_annotator_id  bigint NOT NULL REFERENCES annotators (id),
    reviewer_assignment_id bigint NOT NULL REFERENCES assignments (id),
    -- What was rejected: the annotation, and the task that it was made on.
    task_id                bigint NOT NULL REFERENCES tasks (id),
    original_annotation_id bigint NOT NULL REFERENCES annotations (id),
    original_annotator_id  bigint NOT NULL REFERENCES annotators (id),
    original_assignment_id bigint NOT NULL REFERENCES assignments (id),
    image_key              text NOT NULL,
    reason                 text,
    -- The first rejection of a piece of work is 1, that of its first rework 2.
    iteration              integer NOT NULL CHECK (iteration >= 1),
    -- pending -> routed | escalated; any -> withdrawn, when the review is taken back -> pending, when it is renewed.
    status                 text NOT NULL DEFAULT 'pending'
                           CHECK (status IN ('pending', 'routed', 'escalated', 'withdrawn')),
    -- What the workflow asks for until it is routed, then what was done.
    action_taken           text NOT NULL CHECK (action_taken IN ('none', 'archive', 'route_to_workflow')),
    archive_key            text,
    -- Whether it is to raise the annotator's rejection count, and whether it is counted there now.
    flags_annotator        boolean NOT NULL,
    is_flagged             boolean NOT NULL DEFAULT false,
    routed_at              timestamptz,
    -- The job that routed it.
    job_id                 bigint,
    created_at             timestamptz NOT NULL DEFAULT now(),
    updated_at             timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT rejections_routed_has_time CHECK (status NOT IN ('routed', 'escalated') OR routed_at IS NOT NULL),
    CONSTRAINT rejections_archived_has_key CHECK
        (status <> 'routed' OR action_taken <> 'archive' OR archive_key IS NOT NULL)
);
CREATE INDEX rejections_workflow ON rejections (workflow_id, id);
CREATE INDEX rejections_original_annotator ON rejections (original_annotator_id, id);
CREATE INDEX rejections_recent ON rejections (created_at);
CREATE INDEX rejections_task ON rejections (task_id);
-- What a lost job leaves behind.
CREATE INDEX rejections_pending ON rejections (id) WHERE status = 'pending';

ALTER TABLE tasks
    -- The task whose work this one goes on with, and the annotation that its annotator is shown as a prediction.
    ADD COLUMN source_task_id bigint,
    ADD COLUMN source_annotation_id bigint,
    -- The rejection that calls for this rework.
    ADD COLUMN rejection_id bigint,
    -- How often this piece of work was rejected before.
    ADD COLUMN iteration integer NOT NULL DEFAULT 0,
    -- Only this annotator gets it, as long as they are there and have the workflow's role.
    ADD COLUMN reserved_for bigint,
    -- This annotator gets it only when nobody else can: it is their own work, to be reviewed.
    ADD COLUMN not_for bigint,
    ADD CONSTRAINT tasks_source_task_id_fkey FOREIGN KEY (source_task_id) REFERENCES tasks (id) NOT VALID,
    ADD CONSTRAINT tasks_source_annotation_id_fkey FOREIGN KEY (source_annotation_id) REFERENCES annotations (id) NOT VALID,
    ADD CONSTRAINT tasks_rejection_id_fkey FOREIGN KEY (rejection_id) REFERENCES rejections (id) NOT VALID,
    ADD CONSTRAINT tasks_reserved_for_fkey FOREIGN KEY (reserved_for) REFERENCES annotators (id) NOT VALID,
    ADD CONSTRAINT tasks_not_for_fkey FOREIGN KEY (not_for) REFERENCES annotators (id) NOT VALID,
    DROP CONSTRAINT tasks_origin_check,
    ADD CONSTRAINT tasks_origin_check CHECK (origin IN ('s3', 'upstream', 'rework')) NOT VALID,
    ADD CONSTRAINT tasks_origin_has_source CHECK (CASE origin
        WHEN 'upstream' THEN source_task_id IS NOT NULL AND source_annotation_id IS NOT NULL AND rejection_id IS NULL
        WHEN 'rework' THEN source_task_id IS NOT NULL AND source_annotation_id IS NOT NULL AND rejection_id IS NOT NULL
        ELSE source_task_id IS NULL AND source_annotation_id IS NULL AND rejection_id IS NULL END) NOT VALID,
    ADD CONSTRAINT tasks_iteration_check CHECK (iteration >= 0) NOT VALID,
    -- withdrawn: what it was made from was taken back before anyone got it; made from it again, it is available.
    -- escalated: done, and rejected more often than its workflow allows; somebody has to decide.
    DROP CONSTRAINT tasks_status_check,
    ADD CONSTRAINT tasks_status_check CHECK
        (status IN ('available', 'assigned', 'completed', 'skipped', 'withdrawn', 'escalated')) NOT VALID;

ALTER TABLE assignment_tasks
    -- What the standing annotation's review_decision says, where there is one.
    ADD COLUMN review_decision text,
    -- Whether the original annotator's reviewed_count holds this review.
    ADD COLUMN is_review_counted boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT assignment_tasks_review_decision_check CHECK (review_decision IN ('accept', 'reject')) NOT VALID;

-- The pool as those see it who hand it out. A task is reserved only as long as the annotator whom it is wanted for is
-- there and has the workflow's role; that is looked up only for such tasks, and the pool is read in an index's order.
CREATE VIEW waiting_tasks AS
SELECT id, workflow_id, image_key, draw, not_for, reserved_for AS wanted_for,
       CASE WHEN reserved_for IS NOT NULL THEN
           (SELECT keeper.id FROM annotators AS keeper JOIN workflows ON workflows.id = tasks.workflow_id
            WHERE keeper.id = tasks.reserved_for AND keeper.status <> 'deleted'
              AND (workflows.role_id IS NULL OR workflows.role_id = keeper.role_id))
       END AS reserved_for
FROM tasks WHERE status = 'available';
