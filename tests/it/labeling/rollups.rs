//! The totals that monitoring and the audit log read, held against what they are made of.

use std::collections::BTreeMap;

use chrono::{DateTime, Duration, SubsecRound, TimeZone, Utc};
use futures::future::join_all;
use labelfleet::{
    domain::{
        AnnotationAction, AnnotatorId, AssignmentTaskId, EventKind, EventSource, JobRef,
        event::{Annotation, AnnotationEvent},
    },
    lock::{Key, lock_in},
    ops::{assign::assign, ingest::ingest},
    queue,
    store::{Page, events, gold, instances, rollups},
};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::json;
use sqlx::PgPool;

use crate::support::{database::Database, factory};

/// Hour -> annotations, lead time, and the four buckets.
type Hours = BTreeMap<DateTime<Utc>, [i64; 6]>;

const PROJECT: i64 = 5;
const TASKS: i64 = 4;

async fn hours(pool: &PgPool, annotator: AnnotatorId) -> Hours {
    let rows: Vec<(DateTime<Utc>, Vec<i64>)> = sqlx::query_as(
        "SELECT hour, ARRAY[annotations, lead_time_ms, under_10s, under_30s, under_60s, from_60s]
         FROM annotation_hours
         WHERE annotator_id = $1 AND (annotations, lead_time_ms, under_10s, under_30s, under_60s, from_60s)
             <> (0, 0, 0, 0, 0, 0)",
    )
    .bind(annotator)
    .fetch_all(pool)
    .await
    .unwrap();
    rows.into_iter().map(|(hour, sums)| (hour, sums.try_into().unwrap())).collect()
}

/// What counts, told again in Rust: the earliest version of each annotation that is no skip.
fn counted<'a>(events: impl IntoIterator<Item = &'a AnnotationEvent>) -> Hours {
    let mut earliest = BTreeMap::new();
    for event in events {
        let Some(annotation) = event.annotation.as_ref().filter(|annotation| !annotation.was_cancelled)
        else {
            continue;
        };
        if !(1001..1001 + TASKS).contains(&event.ls_task_id.unwrap()) {
            continue;
        }
        let version = (annotation.updated_at, event.action.as_str(), annotation.lead_time_ms);
        let kept = earliest.entry(event.annotation_id).or_insert(version);
        *kept = version.min(*kept);
    }
    let mut hours = Hours::new();
    for (time, _, lead) in earliest.into_values() {
        let hour = time - Duration::seconds(time.timestamp() % 3600);
        let sums = hours.entry(hour.trunc_subsecs(0)).or_default();
        sums[0] += 1;
        if let Some(lead) = lead {
            sums[1] += lead;
            let bucket = [10_000, 30_000, 60_000].iter().take_while(|bound| lead >= **bound).count();
            sums[2 + bucket] += 1;
        }
    }
    hours
}

/// An annotator with a published batch, whose tasks Label Studio calls 1001 and so on.
async fn batch(database: &Database) -> (queue::Client, AnnotatorId) {
    let pool = &database.pool;
    let workflow = factory::Workflow { batch: TASKS as i32, ..factory::Workflow::new(pool).await };
    let id = workflow.create(pool).await;
    factory::tasks(pool, id, TASKS as i32).await;
    let annotator = factory::annotator(pool, workflow.role).await;
    let queue = queue::Client::new(pool.clone());
    let assignment = assign(&queue, id, annotator).await.unwrap();
    factory::publish(pool, assignment, PROJECT).await;
    (queue, annotator)
}

/// Versions of a few annotations over three hours: submitted, changed, skipped, deleted, some of tasks that are not
/// ours. Lead times lie on the buckets' bounds as well.
fn history(random: &mut StdRng) -> Vec<AnnotationEvent> {
    let start = Utc.with_ymd_and_hms(2026, 4, 6, 10, 59, 0).unwrap();
    let mut events = Vec::new();
    for annotation_id in 1..=random.random_range(5..15) {
        let mut time = start + Duration::milliseconds(random.random_range(0..7_000_000));
        let ls_task_id = Some(1001 + random.random_range(0..TASKS + 1));
        for version in 0..random.random_range(1..4) {
            let leads = [None, Some(0), Some(9_999), Some(10_000), Some(29_999), Some(30_000), Some(60_000)];
            events.push(AnnotationEvent {
                action: if version == 0 { AnnotationAction::Created } else { AnnotationAction::Updated },
                annotation_id,
                ls_task_id,
                ls_project_id: Some(PROJECT),
                token: None,
                annotation: Some(Annotation {
                    was_cancelled: random.random_bool(0.3),
                    lead_time_ms: leads[random.random_range(0..leads.len())],
                    updated_at: time,
                    payload: json!({"id": annotation_id, "result": []}),
                }),
            });
            time += Duration::minutes(random.random_range(1..90));
        }
        if random.random_bool(0.3) {
            events.push(AnnotationEvent {
                action: AnnotationAction::Deleted,
                annotation_id,
                ls_task_id,
                ls_project_id: Some(PROJECT),
                token: None,
                annotation: None,
            });
        }
    }
    events
}

async fn correct(pool: &PgPool, annotator: AnnotatorId) -> u64 {
    let mut tx = pool.begin().await.unwrap();
    let lock = lock_in(&mut tx, Key::Rollups).await.unwrap();
    let hours = rollups::correct_hours(&mut tx, &lock, annotator).await.unwrap();
    tx.commit().await.unwrap();
    hours
}

/// Whatever order events come in, in whatever portions, however often, the hours are those that the events amount to,
/// counted as they came or all at once.
#[tokio::test(flavor = "multi_thread")]
async fn hours_are_what_the_events_amount_to() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let database = Database::create().await;
    for round in 0..25 {
        let (queue, annotator) = batch(&database).await;
        let events = history(&mut random);
        let mut told: Vec<_> = events.iter().chain(events.iter().take(4)).cloned().collect();
        told.shuffle(&mut random);
        let portions: Vec<_> = told.chunks(random.random_range(1..5)).collect();
        if round % 2 == 0 {
            for portion in portions {
                ingest(&queue, annotator, EventSource::Webhook, portion).await.unwrap();
            }
        } else {
            // One task each, as webhooks come; several at the same moment.
            let tell = told
                .iter()
                .map(|event| ingest(&queue, annotator, EventSource::Webhook, std::slice::from_ref(event)));
            for outcome in join_all(tell).await {
                outcome.unwrap();
            }
        }
        let expected = counted(&events);
        assert_eq!(hours(&database.pool, annotator).await, expected, "round {round}");
        assert_eq!(correct(&database.pool, annotator).await, 0, "round {round}");

        sqlx::query("UPDATE annotation_hours SET annotations = annotations + 3 WHERE annotator_id = $1")
            .bind(annotator)
            .execute(&database.pool)
            .await
            .unwrap();
        sqlx::query("DELETE FROM annotation_hours WHERE annotator_id = $1 AND hour = '2026-04-06T11:00:00Z'")
            .bind(annotator)
            .execute(&database.pool)
            .await
            .unwrap();
        correct(&database.pool, annotator).await;
        assert_eq!(hours(&database.pool, annotator).await, expected, "round {round}, corrected");
    }
}

#[tokio::test]
async fn gold_is_summed_through_every_change() {
    let database = Database::create().await;
    let pool = &database.pool;
    let workflow = factory::Workflow::new(pool).await;
    let id = workflow.create(pool).await;
    factory::tasks(pool, id, 1).await;
    let annotator = factory::annotator(pool, workflow.role).await;
    let assignment = assign(&queue::Client::new(pool.clone()), id, annotator).await.unwrap();
    let mut places = Vec::new();
    for position in 1..=3 {
        let gold_task = factory::gold(pool, workflow.config, "red").await;
        let place = sqlx::query_scalar(
            "INSERT INTO assignment_tasks (assignment_id, gold_task_id, position) VALUES ($1, $2, $3) RETURNING id",
        );
        let place: i64 = place.bind(assignment).bind(gold_task).bind(position).fetch_one(pool).await.unwrap();
        places.push(AssignmentTaskId(place));
    }
    let score = async |place: usize, score: Option<f64>| {
        let mut db = pool.acquire().await.unwrap();
        gold::set_score(&mut db, places[place], score, &json!({}), JobRef(1)).await.unwrap();
    };
    let totals = async || -> (i64, i64, f64) {
        sqlx::query_as("SELECT evaluations, skipped, score_sum::double precision FROM annotator_gold")
            .fetch_one(pool)
            .await
            .unwrap()
    };
    score(0, Some(0.1)).await;
    score(1, Some(0.2)).await;
    score(2, None).await;
    assert_eq!(totals().await, (2, 1, 0.3));
    score(1, Some(1.0)).await;
    score(1, Some(1.0)).await;
    score(2, Some(0.5)).await;
    assert_eq!(totals().await, (3, 0, 1.6));
    score(0, None).await;
    gold::remove_score(&mut pool.acquire().await.unwrap(), places[1]).await.unwrap();
    assert_eq!(totals().await, (1, 1, 0.5));

    let correct = async || {
        let mut tx = pool.begin().await.unwrap();
        let lock = lock_in(&mut tx, Key::Rollups).await.unwrap();
        let corrected = rollups::correct_gold(&mut tx, &lock).await.unwrap();
        tx.commit().await.unwrap();
        corrected
    };
    assert_eq!(correct().await, 0);
    sqlx::query("UPDATE annotator_gold SET evaluations = 9, score_sum = 9").execute(pool).await.unwrap();
    assert_eq!(correct().await, 1);
    assert_eq!(totals().await, (1, 1, 0.5));
}

/// By every filter that the log has, the total is what a page of everything holds; of all events, as they came in.
async fn audit_totals(pool: &PgPool, annotators: &[AnnotatorId]) -> Vec<i64> {
    let mut totals = Vec::new();
    for kind in [None, Some(EventKind::Annotation), Some(EventKind::Container)] {
        for annotator in [None].into_iter().chain(annotators.iter().copied().map(Some)) {
            let filter = events::Filter { kind, annotator };
            let page = Page { limit: 10_000, offset: 0 };
            let mut db = pool.acquire().await.unwrap();
            let slice = events::list(&mut db, filter, page).await.unwrap();
            assert_eq!(slice.total, slice.rows.len() as i64, "{filter:?}");
            totals.push(slice.total);
        }
    }
    totals
}

async fn correct_events(pool: &PgPool) -> u64 {
    let mut tx = pool.begin().await.unwrap();
    let lock = lock_in(&mut tx, Key::Rollups).await.unwrap();
    let corrected = rollups::correct_events(&mut tx, &lock).await.unwrap();
    tx.commit().await.unwrap();
    corrected
}

/// Told twice, of tasks that are not ours, by two annotators at the same moment, rolled back, deleted.
#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_knows_how_long_it_is() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let database = Database::create().await;
    let pool = &database.pool;
    let fleet = [batch(&database).await, batch(&database).await];
    let told: Vec<_> = (0..2).map(|_| history(&mut random)).collect();
    let tell = fleet.iter().zip(&told).flat_map(|((queue, annotator), events)| {
        let portions = events.chunks(3).chain(events.chunks(2).take(2));
        portions.map(|portion| ingest(queue, *annotator, EventSource::Webhook, portion))
    });
    let happen = fleet.iter().flat_map(|(_, annotator)| [*annotator; 5]).map(async |annotator| {
        let mut tx = pool.begin().await.unwrap();
        instances::record(&mut tx, annotator, "started", json!({})).await.unwrap();
        instances::record(&mut tx, annotator, "stopped", json!({})).await.unwrap();
        tx.commit().await.unwrap();
    });
    let (ingested, _) = tokio::join!(join_all(tell), join_all(happen));
    ingested.into_iter().for_each(|outcome| drop(outcome.unwrap()));
    let annotators = fleet.map(|(_, annotator)| annotator);
    let totals = audit_totals(pool, &annotators).await;
    let [one, other] = [told[0].len() as i64, told[1].len() as i64];
    assert_eq!(totals, [one + other + 20, one + 10, other + 10, one + other, one, other, 20, 10, 10]);
    assert_eq!(correct_events(pool).await, 0);

    let mut tx = pool.begin().await.unwrap();
    instances::record(&mut tx, annotators[0], "started", json!({})).await.unwrap();
    tx.rollback().await.unwrap();
    for delete in
        ["DELETE FROM annotation_events WHERE id % 3 = 0", "DELETE FROM container_events WHERE id % 3 = 0"]
    {
        sqlx::query(delete).execute(pool).await.unwrap();
    }
    let fewer = audit_totals(pool, &annotators).await;
    assert!(fewer.iter().zip(&totals).all(|(now, before)| now < before), "{fewer:?} of {totals:?}");
    assert_eq!(correct_events(pool).await, 0);

    sqlx::query("DELETE FROM event_totals WHERE kind = 'container'").execute(pool).await.unwrap();
    sqlx::query("UPDATE event_totals SET events = events + 3 WHERE annotator_id = $1")
        .bind(annotators[0])
        .execute(pool)
        .await
        .unwrap();
    assert_eq!(correct_events(pool).await, 3);
    assert_eq!(audit_totals(pool, &annotators).await, fewer);
}
