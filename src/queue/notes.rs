//! What a run says of itself: how far it has come, and lines of a log.
//!
//! Handlers only write to memory. The worker's control task writes that to Postgres twice a second for all runs together,
//! the rest is written before the run's end is, or with it by `JobContext::finish_in`. Lines are numbered here, so
//! writing them twice does no harm. All is guarded by the fence: a run that lost its lease writes nothing.

use std::collections::VecDeque;

use sqlx::{PgExecutor, postgres::types::PgInterval};
use tokio::time::Instant;
use uuid::Uuid;

use super::{durations::interval, job::JobId};

/// Lines kept of a job: the newest.
const LINES: usize = 1_000;
/// Characters kept of a line: the first.
const LENGTH: usize = 2_000;

/// Not written yet.
#[derive(Debug, Default)]
pub(super) struct Notes {
    progress: Option<f32>,
    lines: VecDeque<Line>,
    /// Of all lines of this run so far.
    count: i32,
}

#[derive(Debug, Clone)]
struct Line {
    number: i32,
    at: Instant,
    text: String,
}

/// A copy of one run's notes, to be written.
#[derive(Debug)]
pub(crate) struct Draft {
    pub id: JobId,
    pub attempt: i32,
    progress: Option<f32>,
    lines: Vec<Line>,
}

impl Notes {
    pub fn progress(&mut self, done: f32) {
        if !done.is_nan() {
            self.progress = Some(done.clamp(0.0, 1.0));
        }
    }

    pub fn log(&mut self, line: &str) {
        if self.lines.len() >= LINES {
            self.lines.pop_front();
        }
        self.count = self.count.saturating_add(1);
        let text = line.chars().filter(|character| *character != '\0').take(LENGTH).collect();
        self.lines.push_back(Line { number: self.count, at: Instant::now(), text });
    }

    pub fn draft(&self, id: JobId, attempt: i32) -> Option<Draft> {
        let is_empty = self.progress.is_none() && self.lines.is_empty();
        let lines = || self.lines.iter().cloned().collect();
        (!is_empty).then(|| Draft { id, attempt, progress: self.progress, lines: lines() })
    }

    /// What was drafted is written; what was said since then is left.
    pub fn written(&mut self, draft: &Draft) {
        if self.progress == draft.progress {
            self.progress = None;
        }
        let last = draft.lines.last().map_or(0, |line| line.number);
        while self.lines.front().is_some_and(|line| line.number <= last) {
            self.lines.pop_front();
        }
    }
}

/// Writes the notes of runs that hold their lease, in the order of their ids.
pub(super) async fn write(executor: impl PgExecutor<'_>, worker: Uuid, drafts: &[Draft]) -> sqlx::Result<()> {
    let mut runs = Runs::default();
    let mut lines = Lines::default();
    for draft in drafts {
        runs.ids.push(draft.id.0);
        runs.attempts.push(draft.attempt);
        runs.progress.push(draft.progress);
        runs.counts.push(i32::try_from(draft.lines.len()).unwrap_or(i32::MAX));
        for line in &draft.lines {
            lines.ids.push(draft.id.0);
            lines.numbers.push(line.number);
            lines.ages.push(interval(line.at.elapsed()));
            lines.texts.push(line.text.clone());
        }
    }
    sqlx::query!(
        "WITH said AS (
             SELECT * FROM unnest($1::bigint[], $2::int[], $3::real[], $4::int[]) AS said (id, attempt, progress, count)
         ), held AS MATERIALIZED (
             SELECT jobs.id, said.attempt, said.progress, said.count FROM said
             JOIN jobs ON jobs.id = said.id AND jobs.attempt = said.attempt AND worker_id = $5
             ORDER BY jobs.id
             FOR NO KEY UPDATE OF jobs
         ), advanced AS (
             UPDATE jobs SET progress = held.progress FROM held
             WHERE jobs.id = held.id AND held.progress IS NOT NULL
         ), line AS (
             SELECT held.id, held.attempt, new.number, new.age, new.text FROM held
             JOIN unnest($6::bigint[], $7::int[], $8::interval[], $9::text[]) AS new (id, number, age, text) USING (id)
         ), removed AS (
             DELETE FROM job_logs USING held CROSS JOIN LATERAL (
                 SELECT attempt, number FROM job_logs AS old
                 WHERE old.job_id = held.id
                   AND NOT EXISTS (SELECT FROM line WHERE line.id = old.job_id AND line.attempt = old.attempt
                                     AND line.number = old.number)
                 ORDER BY attempt DESC, number DESC OFFSET greatest(0, $10 - held.count)) AS beyond
             WHERE held.count > 0 AND job_logs.job_id = held.id AND job_logs.attempt = beyond.attempt
               AND job_logs.number = beyond.number
         )
         INSERT INTO job_logs (job_id, attempt, number, at, line)
         SELECT id, attempt, number, now() - age, text FROM line
         ON CONFLICT DO NOTHING",
        &runs.ids,
        &runs.attempts,
        &runs.progress as &[Option<f32>],
        &runs.counts,
        worker,
        &lines.ids,
        &lines.numbers,
        &lines.ages,
        &lines.texts,
        LINES as i32,
    )
    .execute(executor)
    .await?;
    Ok(())
}

#[derive(Default)]
struct Runs {
    ids: Vec<i64>,
    attempts: Vec<i32>,
    progress: Vec<Option<f32>>,
    counts: Vec<i32>,
}

#[derive(Default)]
struct Lines {
    ids: Vec<i64>,
    numbers: Vec<i32>,
    ages: Vec<PgInterval>,
    texts: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_while_a_draft_is_written_is_kept() {
        let mut notes = Notes::default();
        assert!(notes.draft(JobId(1), 1).is_none());
        notes.progress(7.0);
        notes.progress(f32::NAN);
        notes.log("a\0b");
        let draft = notes.draft(JobId(1), 1).unwrap();
        assert_eq!((draft.progress, draft.lines[0].text.as_str()), (Some(1.0), "ab"));
        notes.log("later");
        notes.progress(0.5);
        notes.written(&draft);
        let rest = notes.draft(JobId(1), 1).unwrap();
        assert_eq!((rest.progress, rest.lines.len(), rest.lines[0].number), (Some(0.5), 1, 2));
        notes.written(&rest);
        assert!(notes.draft(JobId(1), 1).is_none());
    }

    #[test]
    fn the_newest_lines_and_the_start_of_each_are_kept() {
        let mut notes = Notes::default();
        for number in 0..LINES + 5 {
            notes.log(&format!("{number:x<3000}"));
        }
        let lines = notes.draft(JobId(1), 1).unwrap().lines;
        assert_eq!((lines.len(), lines[0].number, lines[0].text.len()), (LINES, 6, LENGTH));
    }
}
