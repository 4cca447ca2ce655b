-- What a job may ask of the engine beyond running: a level, turns with others, limits across all workers. Constant
-- defaults, so no row is rewritten; checks are validated after, which lets others write meanwhile.

ALTER TABLE jobs
    -- 0 urgent, 1 normal, 2 low, 3 bulk.
    ADD COLUMN priority            smallint NOT NULL DEFAULT 1,
    -- Jobs of a flow take turns with those of other flows of their level; null: their kind is their flow.
    ADD COLUMN flow                text,
    -- At most so many jobs of the key run at once, on all workers together.
    ADD COLUMN concurrency_key     text,
    ADD COLUMN concurrency_limit   integer,
    -- One job of the key starts in each such time, and so many at once after a rest.
    ADD COLUMN rate_key            text,
    ADD COLUMN rate_interval       interval,
    ADD COLUMN rate_burst          integer;

ALTER TABLE jobs
    ADD CONSTRAINT jobs_priority_check CHECK (priority BETWEEN 0 AND 3) NOT VALID,
    ADD CONSTRAINT jobs_flow_check CHECK (length(flow) BETWEEN 1 AND 200) NOT VALID,
    ADD CONSTRAINT jobs_concurrency_check CHECK
        ((concurrency_key IS NULL) = (concurrency_limit IS NULL) AND concurrency_limit >= 1
         AND length(concurrency_key) BETWEEN 1 AND 200) NOT VALID,
    ADD CONSTRAINT jobs_rate_check CHECK
        ((rate_key IS NULL) = (rate_interval IS NULL) AND (rate_key IS NULL) = (rate_burst IS NULL)
         AND rate_burst >= 1 AND rate_interval > '0'::interval AND length(rate_key) BETWEEN 1 AND 200) NOT VALID;
