-- The indexes and checks that those before replace. Dropping an index waits for whoever reads the table and lets nobody
-- in meanwhile: rather than that, it gives up, and the next run of the migrations tries again.

SET LOCAL lock_timeout = '5s';
ALTER TABLE jobs VALIDATE CONSTRAINT jobs_state_is_whole;
ALTER TABLE jobs
    DROP CONSTRAINT jobs_state_check,
    DROP CONSTRAINT jobs_running_has_worker,
    DROP CONSTRAINT jobs_final_has_time,
    DROP CONSTRAINT jobs_running_was_claimed,
    DROP CONSTRAINT jobs_attempts_bounded,
    DROP CONSTRAINT jobs_waiting_has_attempts;
DROP INDEX jobs_due, jobs_due_keyed, jobs_timed, jobs_running, jobs_running_keyed, jobs_to_cancel, jobs_dead, jobs_final,
    jobs_batch_left, jobs_unique_open;
