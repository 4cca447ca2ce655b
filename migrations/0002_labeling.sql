-- Roles, annotators, what they label, and what came of it.

CREATE TABLE roles (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL CONSTRAINT roles_name_key UNIQUE CHECK (length(name) BETWEEN 1 AND 100),
    description text CHECK (length(description) <= 500),
    color       text CHECK (color ~ '^#[0-9A-Fa-f]{6}$'),
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE labeling_configs (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    description text CHECK (length(description) <= 500),
    config_xml  text NOT NULL CHECK (length(config_xml) <= 50000),
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE workflows (
    id                           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name                         text NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    role_id                      bigint CONSTRAINT workflows_role_id_fkey REFERENCES roles (id),
    labeling_config_id           bigint CONSTRAINT workflows_labeling_config_id_fkey REFERENCES labeling_configs (id),
    previous_workflow_id         bigint CONSTRAINT workflows_previous_workflow_id_fkey REFERENCES workflows (id),
    s3_source_path               text NOT NULL,
    s3_export_path               text NOT NULL,
    images_per_project           integer NOT NULL DEFAULT 100 CHECK (images_per_project BETWEEN 1 AND 10000),
    max_projects                 integer CHECK (max_projects >= 1),
    estimated_time_minutes       integer CHECK (estimated_time_minutes >= 0),
    auto_assign                  boolean NOT NULL DEFAULT true,
    gold_standard_rate           double precision NOT NULL DEFAULT 0 CHECK (gold_standard_rate BETWEEN 0 AND 1),
    shuffle_images               boolean NOT NULL DEFAULT true,
    is_active                    boolean NOT NULL DEFAULT true,
    rejection_mode               text NOT NULL DEFAULT 'none'
                                 CHECK (rejection_mode IN ('none', 'archive', 'route_to_workflow')),
    rejection_archive_bucket     text,
    rejection_route_workflow_id  bigint CONSTRAINT workflows_rejection_route_workflow_id_fkey REFERENCES workflows (id),
    rejection_return_to_original boolean NOT NULL DEFAULT false,
    rejection_flag_annotator     boolean NOT NULL DEFAULT true,
    max_rework_iterations        integer CHECK (max_rework_iterations >= 0),
    -- Where a listing of the source goes on after a crash; null between two listings.
    sync_cursor                  text,
    synced_at                    timestamptz,
    created_at                   timestamptz NOT NULL DEFAULT now(),
    updated_at                   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT workflows_route_has_target CHECK
        (rejection_mode <> 'route_to_workflow' OR rejection_route_workflow_id IS NOT NULL),
    CONSTRAINT workflows_not_its_own_source CHECK (previous_workflow_id <> id)
);
CREATE INDEX workflows_role ON workflows (role_id);
CREATE INDEX workflows_labeling_config ON workflows (labeling_config_id);
CREATE INDEX workflows_previous ON workflows (previous_workflow_id);

CREATE TABLE gold_tasks (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name               text CHECK (length(name) <= 255),
    s3_image_key       text NOT NULL CHECK (length(s3_image_key) BETWEEN 1 AND 1024),
    expected_labels    jsonb NOT NULL CHECK (jsonb_typeof(expected_labels) = 'array' AND jsonb_array_length(expected_labels) >= 1),
    labeling_config_id bigint NOT NULL CONSTRAINT gold_tasks_labeling_config_id_fkey REFERENCES labeling_configs (id),
    category           text CHECK (length(category) <= 100),
    difficulty         text CHECK (difficulty IN ('easy', 'medium', 'hard')),
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX gold_tasks_labeling_config ON gold_tasks (labeling_config_id);

CREATE TABLE annotators (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name            text NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    email           text NOT NULL,
    role_id         bigint CONSTRAINT annotators_role_id_fkey REFERENCES roles (id),
    status          text NOT NULL DEFAULT 'created'
                    CHECK (status IN ('created', 'starting', 'active', 'stopping', 'stopped', 'error', 'deleted')),
    -- Why the last transition to `error` happened, in words for an operator.
    status_reason   text,
    status_at       timestamptz NOT NULL DEFAULT now(),
    container_id    text,
    container_ip    text,
    container_port  integer CHECK (container_port BETWEEN 1 AND 65535),
    subdomain       text CONSTRAINT annotators_subdomain_key UNIQUE,
    database_name   text,
    api_token       text,
    ls_user_id      bigint,
    -- Raising it changes every secret that is derived for this annotator.
    secret_version  integer NOT NULL DEFAULT 1,
    notes           text CHECK (length(notes) <= 2000),
    last_active_at  timestamptz,
    rejection_count integer NOT NULL DEFAULT 0,
    reviewed_count  integer NOT NULL DEFAULT 0,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT annotators_active_is_reachable CHECK
        (status <> 'active' OR (container_id IS NOT NULL AND container_port IS NOT NULL AND api_token IS NOT NULL)),
    CONSTRAINT annotators_error_has_reason CHECK (status <> 'error' OR status_reason IS NOT NULL)
);
-- A deleted annotator's address may be used again.
CREATE UNIQUE INDEX annotators_email_key ON annotators (lower(email)) WHERE status <> 'deleted';
CREATE INDEX annotators_role ON annotators (role_id) WHERE status <> 'deleted';

-- The one pool of work.
CREATE TABLE tasks (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uid         uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT tasks_uid_key UNIQUE,
    workflow_id bigint NOT NULL REFERENCES workflows (id) ON DELETE CASCADE,
    origin      text NOT NULL CHECK (origin IN ('s3')),
    image_key   text NOT NULL CHECK (length(image_key) BETWEEN 1 AND 1024),
    size_bytes  bigint,
    status      text NOT NULL DEFAULT 'available' CHECK (status IN ('available', 'assigned', 'completed', 'skipped')),
    -- Drawn once, so that a shuffled batch is read in index order instead of sorting the pool.
    draw        double precision NOT NULL DEFAULT random(),
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX tasks_s3_key ON tasks (workflow_id, image_key) WHERE origin = 's3';
CREATE INDEX tasks_available_shuffled ON tasks (workflow_id, draw) WHERE status = 'available';
CREATE INDEX tasks_available_in_order ON tasks (workflow_id, image_key) WHERE status = 'available';
CREATE INDEX tasks_workflow_status ON tasks (workflow_id, status);

CREATE TABLE assignments (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workflow_id     bigint NOT NULL CONSTRAINT assignments_workflow_id_fkey REFERENCES workflows (id),
    annotator_id    bigint NOT NULL CONSTRAINT assignments_annotator_id_fkey REFERENCES annotators (id),
    status          text NOT NULL DEFAULT 'pending'
                    CHECK (status IN ('pending', 'in_progress', 'completed', 'failed', 'cancelled')),
    status_reason   text,
    ls_project_id   bigint,
    -- task_count counts the workflow's tasks, gold_task_count what was mixed in, done_count both when finished.
    task_count      integer NOT NULL CHECK (task_count >= 1),
    gold_task_count integer NOT NULL DEFAULT 0 CHECK (gold_task_count >= 0),
    done_count      integer NOT NULL DEFAULT 0,
    -- The steps of a pending assignment, in order; each is set once.
    gold_at         timestamptz,
    published_at    timestamptz,
    completed_at    timestamptz,
    export_key      text,
    export_bytes    bigint,
    export_sha256   text,
    exported_at     timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT assignments_done_bounded CHECK (done_count BETWEEN 0 AND task_count + gold_task_count),
    CONSTRAINT assignments_published_in_order CHECK
        (published_at IS NULL OR (gold_at IS NOT NULL AND ls_project_id IS NOT NULL)),
    CONSTRAINT assignments_work_is_published CHECK
        (status NOT IN ('in_progress', 'completed') OR published_at IS NOT NULL),
    CONSTRAINT assignments_completed_has_time CHECK ((status = 'completed') = (completed_at IS NOT NULL)),
    CONSTRAINT assignments_exported_is_complete CHECK
        (exported_at IS NULL OR (completed_at IS NOT NULL AND export_key IS NOT NULL))
);
CREATE INDEX assignments_workflow ON assignments (workflow_id, status);
CREATE INDEX assignments_annotator ON assignments (annotator_id, status);
CREATE UNIQUE INDEX assignments_project ON assignments (annotator_id, ls_project_id) WHERE ls_project_id IS NOT NULL;
CREATE INDEX assignments_to_export ON assignments (id) WHERE status = 'completed' AND exported_at IS NULL;

CREATE TABLE assignment_tasks (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    assignment_id bigint NOT NULL REFERENCES assignments (id),
    position      integer NOT NULL,
    task_id       bigint REFERENCES tasks (id) ON DELETE CASCADE,
    gold_task_id  bigint CONSTRAINT assignment_tasks_gold_task_id_fkey REFERENCES gold_tasks (id),
    -- The opaque part of the image URL that Label Studio holds; tells nothing of key or gold.
    token         uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT assignment_tasks_token_key UNIQUE,
    ls_task_id    bigint,
    state         text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'done', 'skipped', 'released')),
    lead_time_ms  bigint,
    done_at       timestamptz,
    CONSTRAINT assignment_tasks_one_kind CHECK ((task_id IS NULL) <> (gold_task_id IS NULL)),
    CONSTRAINT assignment_tasks_position_key UNIQUE (assignment_id, position) DEFERRABLE INITIALLY IMMEDIATE,
    CONSTRAINT assignment_tasks_gold_once UNIQUE (assignment_id, gold_task_id)
);
-- No image is in two assignments, whatever the code does: only a released task may be reserved again.
CREATE UNIQUE INDEX assignment_tasks_task_held_once ON assignment_tasks (task_id) WHERE task_id IS NOT NULL AND state <> 'released';
CREATE INDEX assignment_tasks_ls ON assignment_tasks (assignment_id, ls_task_id);
CREATE INDEX assignment_tasks_task ON assignment_tasks (task_id) WHERE task_id IS NOT NULL;
CREATE INDEX assignment_tasks_gold ON assignment_tasks (gold_task_id) WHERE gold_task_id IS NOT NULL;

-- What Label Studio holds now, one row an annotation, as received.
CREATE TABLE annotations (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    annotator_id       bigint NOT NULL REFERENCES annotators (id),
    ls_annotation_id   bigint NOT NULL,
    assignment_task_id bigint NOT NULL REFERENCES assignment_tasks (id),
    was_cancelled      boolean NOT NULL,
    lead_time_ms       bigint,
    -- The annotation object, whole.
    payload            jsonb NOT NULL,
    ls_updated_at      timestamptz NOT NULL,
    deleted_at         timestamptz,
    received_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT annotations_ls_key UNIQUE (annotator_id, ls_annotation_id)
);
CREATE INDEX annotations_assignment_task ON annotations (assignment_task_id);

-- Every event once. `assignment_task_id` is null for a task that belongs to no assignment.
CREATE TABLE annotation_events (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    annotator_id       bigint NOT NULL REFERENCES annotators (id),
    action             text NOT NULL CHECK (action IN ('created', 'updated', 'deleted')),
    ls_annotation_id   bigint NOT NULL,
    ls_task_id         bigint,
    ls_project_id      bigint,
    assignment_task_id bigint REFERENCES assignment_tasks (id),
    source             text NOT NULL CHECK (source IN ('webhook', 'reconcile')),
    lead_time_ms       bigint,
    -- Label Studio's own time of the change; null for a deletion, which carries none.
    occurred_at        timestamptz,
    received_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT annotation_events_once UNIQUE NULLS NOT DISTINCT (annotator_id, ls_annotation_id, action, occurred_at)
);
CREATE INDEX annotation_events_recent ON annotation_events (annotator_id, received_at DESC);

CREATE TABLE gold_results (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    assignment_task_id bigint NOT NULL CONSTRAINT gold_results_assignment_task_id_key UNIQUE REFERENCES assignment_tasks (id),
    assignment_id      bigint NOT NULL REFERENCES assignments (id),
    annotator_id       bigint NOT NULL REFERENCES annotators (id),
    gold_task_id       bigint NOT NULL CONSTRAINT gold_results_gold_task_id_fkey REFERENCES gold_tasks (id),
    score              double precision NOT NULL CHECK (score BETWEEN 0 AND 1),
    details            jsonb NOT NULL DEFAULT '{}',
    evaluated_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX gold_results_annotator ON gold_results (annotator_id, evaluated_at DESC);
CREATE INDEX gold_results_assignment ON gold_results (assignment_id);

CREATE TABLE container_events (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    annotator_id bigint NOT NULL REFERENCES annotators (id),
    event_type   text NOT NULL,
    details      jsonb NOT NULL DEFAULT '{}',
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX container_events_recent ON container_events (annotator_id, created_at DESC);

CREATE TABLE settings (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key         text NOT NULL CONSTRAINT settings_key_key UNIQUE CHECK (length(key) BETWEEN 1 AND 200),
    value       jsonb NOT NULL,
    description text CHECK (length(description) <= 500),
    updated_at  timestamptz NOT NULL DEFAULT now()
);
