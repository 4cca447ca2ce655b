//! How many jobs a worker takes, and which it holds.
//!
//! A claimed job has a [`Ticket`] from its claim until its end is written. Tickets are counted per queue, which
//! bounds what a worker holds in memory, and known by fence, so that the audit can tell a job that this worker
//! runs from one whose claim it never heard of.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, timeout_at},
};

use crate::queue::{
    job::{JobContext, JobId},
    notes::Draft,
    successors::Ended,
};

/// Ids taken in one claim, at most: larger statements gain little, and fall into worse plans.
const BATCH: usize = 200;
/// Jobs held beyond those that may run, at most, when runs are short.
const PREFETCH: usize = 1_500;
/// A job is only taken ahead if it will start within this time.
const AHEAD: Duration = Duration::from_millis(20);
/// How long a claim waits for more free slots, so that short jobs are claimed in batches.
const LINGER: Duration = Duration::from_millis(2);

/// All jobs that this worker holds, by fence.
#[derive(Debug, Default)]
pub(super) struct Held {
    runs: Mutex<HashMap<(JobId, i32), JobContext>>,
    /// Of claims whose jobs have all ended.
    notes: Mutex<Vec<i64>>,
}

/// The row of `job_claims` that says what one claim took: it must stay until the end of each of these jobs is known to
/// Postgres. If one's is not, the audit looks after it.
#[derive(Debug)]
pub(super) struct Note {
    id: i64,
    open: AtomicUsize,
}

impl Note {
    pub fn new(id: i64, jobs: usize) -> Self {
        Self { id, open: AtomicUsize::new(jobs) }
    }
}

impl Held {
    pub fn contains(&self, id: JobId, attempt: i32) -> bool {
        self.lock().contains_key(&(id, attempt))
    }

    /// Has the run's handler told to stop.
    pub fn cancel(&self, id: JobId, attempt: i32) {
        if let Some(context) = self.lock().get(&(id, attempt)) {
            context.cancel();
        }
    }

    /// What runs have said and nobody has written yet, in the order of their ids.
    pub fn notes(&self) -> Vec<(JobContext, Draft)> {
        let mut notes: Vec<_> = self
            .lock()
            .values()
            .filter_map(|context| Some((context.clone(), context.notes_while_running()?)))
            .collect();
        notes.sort_by_key(|(context, _)| context.id);
        notes
    }

    /// Claims whose jobs have all ended since this was asked.
    pub fn ended_notes(&self) -> Vec<i64> {
        std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(JobId, i32), JobContext>> {
        // The map is whole after each of its operations, so a panic elsewhere does not spoil it.
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For what a job's end makes way.
#[derive(Debug, Default)]
pub(super) struct After {
    pub concurrency_key: Option<String>,
    /// Others wait for it.
    pub is_awaited: bool,
}

/// The slots of one queue.
#[derive(Debug)]
pub(super) struct Slots {
    concurrency: usize,
    taken: AtomicUsize,
    /// For jobs that are being claimed.
    reserved: AtomicUsize,
    freed: Notify,
    /// Moving average of the run time; 0 before the first run.
    run_micros: AtomicU64,
    held: Arc<Held>,
    /// Hears of jobs that are held no more and for which something waits.
    ended: mpsc::UnboundedSender<Ended>,
}

/// A job in this worker's hands. Dropping it, once its end is written or the job was handed back, frees its slot.
#[derive(Debug)]
pub(super) struct Ticket {
    pub context: JobContext,
    pub kind: &'static str,
    after: After,
    slots: Arc<Slots>,
    note: Arc<Note>,
    is_settled: AtomicBool,
}

/// Slots of jobs that are being claimed. Dropping it gives them back.
#[derive(Debug)]
pub(super) struct Reservation {
    count: usize,
    slots: Arc<Slots>,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.slots.reserved.fetch_sub(self.count, Ordering::AcqRel);
        self.slots.freed.notify_one();
    }
}

impl Slots {
    pub fn new(concurrency: usize, held: Arc<Held>, ended: mpsc::UnboundedSender<Ended>) -> Self {
        Self {
            concurrency,
            taken: AtomicUsize::new(0),
            reserved: AtomicUsize::new(0),
            freed: Notify::new(),
            run_micros: AtomicU64::new(0),
            held,
            ended,
        }
    }

    /// The jobs that the queue may hold at most.
    pub fn most(&self) -> usize {
        self.concurrency + PREFETCH
    }

    /// Waits until a slot is free; how many are, at most [`BATCH`].
    pub async fn free(&self) -> usize {
        let mut patience = None;
        loop {
            let freed = self.freed.notified();
            let free = self.count_free();
            if free == 0 {
                freed.await;
                continue;
            }
            let until = *patience.get_or_insert_with(|| Instant::now() + LINGER);
            let is_enough = free >= (self.concurrency / 2).clamp(1, BATCH);
            if is_enough || timeout_at(until, freed).await.is_err() {
                return free.min(BATCH);
            }
        }
    }

    fn count_free(&self) -> usize {
        let prefetch = match self.run_micros.load(Ordering::Relaxed) {
            0 => 0,
            micros => {
                let ahead = AHEAD.as_micros() as u64 * self.concurrency as u64 / micros;
                usize::try_from(ahead).unwrap_or(PREFETCH).min(PREFETCH)
            }
        };
        let held = self.taken.load(Ordering::Acquire) + self.reserved.load(Ordering::Acquire);
        (self.concurrency + prefetch).saturating_sub(held)
    }

    /// Keeps slots for jobs that are being claimed, until they have their tickets.
    pub fn reserve(self: &Arc<Self>, count: usize) -> Reservation {
        self.reserved.fetch_add(count, Ordering::AcqRel);
        Reservation { count, slots: self.clone() }
    }

    /// A ticket for a job just claimed; none if this worker holds the very same run already. That happens when
    /// Postgres crashed and forgot the claim.
    pub fn take(
        self: &Arc<Self>,
        context: JobContext,
        kind: &'static str,
        after: After,
        note: &Arc<Note>,
    ) -> Option<Ticket> {
        match self.held.lock().entry((context.id, context.attempt)) {
            Entry::Occupied(_) => return None,
            Entry::Vacant(free) => free.insert(context.clone()),
        };
        self.taken.fetch_add(1, Ordering::AcqRel);
        let (slots, note) = (self.clone(), note.clone());
        Some(Ticket { context, kind, after, slots, note, is_settled: AtomicBool::new(false) })
    }
}

impl Ticket {
    /// Postgres has the run's end, or another run's in its place.
    pub fn settle(&self) {
        self.is_settled.store(true, Ordering::Release);
    }

    /// Tells the queue how long the run took.
    pub fn ran_for(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
        let average = match self.slots.run_micros.load(Ordering::Relaxed) {
            0 => micros,
            before => before - before / 8 + micros / 8,
        };
        // Two runs that end at once may lose one of the two: it is an estimate.
        self.slots.run_micros.store(average.max(1), Ordering::Relaxed);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.slots.held.lock().remove(&(self.context.id, self.context.attempt));
        self.slots.taken.fetch_sub(1, Ordering::AcqRel);
        self.slots.freed.notify_one();
        if *self.is_settled.get_mut() && self.note.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.slots.held.notes.lock().unwrap_or_else(PoisonError::into_inner).push(self.note.id);
        }
        let After { concurrency_key, is_awaited } = std::mem::take(&mut self.after);
        if concurrency_key.is_some() || is_awaited {
            let awaited = is_awaited.then_some(self.context.id);
            // It fails only when the worker is gone.
            let _ = self.slots.ended.send(Ended { concurrency_key, awaited });
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn context(id: i64) -> JobContext {
        JobContext::new(JobId(id), 1, 3, Uuid::nil())
    }

    fn note() -> Arc<Note> {
        Arc::new(Note::new(1, 1))
    }

    #[test]
    fn a_note_goes_when_the_last_of_its_jobs_is_settled() {
        let held = Arc::new(Held::default());
        let slots = Arc::new(Slots::new(10, held.clone(), mpsc::unbounded_channel().0));
        let of = |id: i64, note: &Arc<Note>| slots.take(context(id), "k", After::default(), note).unwrap();
        let (settled, unsettled) = (Arc::new(Note::new(7, 2)), Arc::new(Note::new(8, 2)));
        let tickets = [of(1, &settled), of(2, &settled), of(3, &unsettled), of(4, &unsettled)];
        tickets[..3].iter().for_each(Ticket::settle);
        let [first, second, third, fourth] = tickets;
        drop((first, third, fourth));
        assert_eq!(held.ended_notes(), [0_i64; 0]);
        drop(second);
        assert_eq!(held.ended_notes(), [7]);
        assert_eq!(held.ended_notes(), [0_i64; 0]);
    }

    #[test]
    fn short_runs_let_it_take_ahead_and_long_ones_do_not() {
        let slots = Arc::new(Slots::new(10, Arc::default(), mpsc::unbounded_channel().0));
        assert_eq!(slots.count_free(), 10);
        let ticket = slots.take(context(1), "k", After::default(), &note()).unwrap();
        ticket.ran_for(Duration::from_millis(1));
        assert_eq!(slots.count_free(), 10 - 1 + 200);
        for _ in 0..100 {
            ticket.ran_for(Duration::from_secs(60));
        }
        assert_eq!(slots.count_free(), 9);
        drop(ticket);
        assert_eq!(slots.count_free(), 10);
    }

    #[test]
    fn the_same_run_is_held_once() {
        let held = Arc::new(Held::default());
        let slots = Arc::new(Slots::new(10, held.clone(), mpsc::unbounded_channel().0));
        let ticket = slots.take(context(1), "k", After::default(), &note()).unwrap();
        assert!(slots.take(context(1), "k", After::default(), &note()).is_none());
        assert!(held.contains(JobId(1), 1));
        drop(ticket);
        assert!(!held.contains(JobId(1), 1));
    }
}
