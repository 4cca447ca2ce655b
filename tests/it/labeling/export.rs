//! What is delivered.

use std::{collections::BTreeMap, time::Duration};

use labelfleet::{
    domain::{AnnotatorId, AssignmentId, AssignmentTaskId, EventSource, ExportFormat, event::from_webhook},
    ops::{
        assign::assign,
        ingest::ingest,
        jobs::{ExportAssignment, ExportFile, InjectGold, ScoreGold},
    },
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{self, factory, fleet::Fleet, storage::Storage, wait};

const PROJECT: i64 = 5;

/// A batch that is published and waits for its annotations.
pub(super) struct Batch {
    pub storage: Storage,
    pub fleet: Fleet,
    pub annotator: AnnotatorId,
    pub assignment_id: AssignmentId,
    /// Label Studio's ids of the tasks, in order, and of the gold tasks.
    pub tasks: Vec<i64>,
    pub gold: Vec<(AssignmentTaskId, i64)>,
}

impl Batch {
    pub async fn published(tasks: i32, gold: usize, formats: &[ExportFormat]) -> Self {
        let storage = Storage::start().await;
        let fleet = Fleet::with(storage.settings()).await;
        let pool = &fleet.database.pool;
        let gold_rate = gold as f64 / f64::from(tasks);
        let workflow = factory::Workflow {
            gold_rate,
            shuffle: false,
            batch: tasks,
            ..factory::Workflow::new(pool).await
        };
        for _ in 0..gold {
            factory::gold(pool, workflow.config, "red").await;
        }
        let id = workflow.create(pool).await;
        let names: Vec<&str> =
            [ExportFormat::Json].iter().chain(formats).map(|format| format.as_str()).collect();
        let update =
            sqlx::query("UPDATE workflows SET export_formats = $2 WHERE id = $1").bind(id).bind(names);
        update.execute(pool).await.unwrap();
        factory::tasks(pool, id, tasks).await;
        let annotator = factory::annotator(pool, workflow.role).await;
        let assignment_id = assign(&fleet.deps.queue, id, annotator).await.unwrap();
        fleet.run(InjectGold { assignment_id }).await.unwrap();
        factory::publish(pool, assignment_id, PROJECT).await;
        let places: Vec<(AssignmentTaskId, i64, bool)> = sqlx::query_as(
            "SELECT id, ls_task_id, gold_task_id IS NOT NULL FROM assignment_tasks WHERE assignment_id = $1
             ORDER BY position",
        )
        .bind(assignment_id)
        .fetch_all(pool)
        .await
        .unwrap();
        let tasks = places.iter().filter(|place| !place.2).map(|place| place.1).collect();
        let gold = places.iter().filter(|place| place.2).map(|place| (place.0, place.1)).collect();
        Self { storage, fleet, annotator, assignment_id, tasks, gold }
    }

    /// Has the annotator submit this for a task.
    pub async fn submit(&self, task: i64, result: Value) {
        self.tell(task, task, 0, result, false).await;
    }

    pub async fn tell(&self, annotation: i64, task: i64, second: u32, result: Value, is_skip: bool) {
        let body = json!({
            "action": "ANNOTATION_CREATED", "project": {"id": PROJECT}, "task": {"id": task, "data": {}},
            "annotation": {"id": annotation, "result": result, "was_cancelled": is_skip, "lead_time": 1.5,
                "updated_at": format!("2026-04-06T12:00:{second:02}Z")},
        });
        let events = from_webhook(&body).unwrap();
        ingest(&self.fleet.deps.queue, self.annotator, EventSource::Webhook, &events).await.unwrap();
    }

    async fn export(&self) -> Value {
        self.fleet.export(self.assignment_id).await.unwrap()
    }

    pub fn key(&self, suffix: &str) -> String {
        format!("exports/assignment-{}{suffix}", self.assignment_id)
    }

    pub async fn json(&self, suffix: &str) -> Value {
        serde_json::from_slice(&self.storage.get(&self.key(suffix)).await).unwrap()
    }

    /// Every object of the export.
    pub fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let folder = self.storage.path("exports");
        let Ok(entries) = std::fs::read_dir(folder) else { return BTreeMap::new() };
        let file = |entry: std::io::Result<std::fs::DirEntry>| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
        };
        entries.map(file).filter(|(name, _)| name.starts_with("assignment-")).collect()
    }

    pub fn has_manifest(&self) -> bool {
        self.storage.path(&self.key(".manifest.json")).exists()
    }

    /// The files are there as the manifest says; returns it.
    pub async fn is_whole(&self) -> Value {
        let manifest = self.json(".manifest.json").await;
        let objects = self.objects();
        let files = manifest["files"].as_array().unwrap();
        for file in files {
            let name = file["key"].as_str().unwrap().strip_prefix("exports/").unwrap();
            let content = &objects[name];
            assert_eq!(file["bytes"], content.len(), "{name}");
            assert_eq!(file["sha256"], hex::encode(Sha256::digest(content)), "{name}");
        }
        assert_eq!(files.len(), objects.len() - 1, "{:?}", objects.keys());
        manifest
    }
}

fn on_image(kind: &str, label: &str, mut value: Value) -> Value {
    value[kind] = json!([label]);
    json!({"id": "r", "from_name": "box", "to_name": "image", "type": kind, "value": value,
           "original_width": 200, "original_height": 100})
}

fn rectangle(label: &str, [x, y, width, height]: [f64; 4], rotation: f64) -> Value {
    let value = json!({"x": x, "y": y, "width": width, "height": height, "rotation": rotation});
    on_image("rectanglelabels", label, value)
}

#[tokio::test]
async fn an_export_holds_every_annotation_but_gold_and_is_the_same_again() {
    let batch = Batch::published(10, 2, ExportFormat::ALL).await;
    for (n, task) in (0..).zip(&batch.tasks) {
        let result =
            json!([factory::choice("blue"), rectangle("car", [f64::from(n), 10.0, 20.0, 30.0], 0.0)]);
        match n {
            3 => batch.tell(*task, *task, 0, json!([]), true).await,
            _ => batch.submit(*task, result).await,
        }
    }
    for ((_, task), label) in batch.gold.iter().zip(["red", "blue"]) {
        batch.submit(*task, json!([factory::choice(label)])).await;
    }
    for (place, _) in &batch.gold {
        batch.fleet.run(ScoreGold { assignment_task_id: *place }).await.unwrap();
    }

    let outcome = batch.export().await;
    let key = batch.key(".json");
    assert_eq!((&outcome["key"], &outcome["tasks"]), (&json!(key), &json!(10)));
    let bytes = batch.storage.get(&key).await;
    let exported: Vec<Value> = serde_json::from_slice(&bytes).unwrap();
    let images: Vec<&str> = exported.iter().filter_map(|task| task["data"]["image"].as_str()).collect();
    let expected: Vec<String> = (0..10).map(|n| format!("s3://fleet/images/{n:05}.png")).collect();
    assert_eq!(images, expected);
    assert_eq!(exported[0]["annotations"][0]["result"][0], factory::choice("blue"));
    assert_eq!(exported[3]["annotations"][0]["was_cancelled"], true);
    let (stored_key, size): (String, i64) =
        sqlx::query_as("SELECT export_key, export_bytes FROM assignments")
            .fetch_one(&batch.fleet.database.pool)
            .await
            .unwrap();
    assert_eq!((stored_key, size), (key, bytes.len() as i64));

    let manifest = batch.is_whole().await;
    assert_eq!(manifest["assignmentId"], json!(batch.assignment_id));
    assert_eq!(manifest["counts"], json!({"tasks": 10, "tasksWithoutAnnotation": 1, "annotations": 10}));
    let objects = batch.objects();
    assert_eq!(objects.len(), ExportFormat::ALL.len() + 2, "{:?}", objects.keys());
    for file in manifest["files"].as_array().unwrap() {
        assert_eq!(file["leftOut"], json!({}), "{file}");
    }

    let quality = batch.json(".quality.json").await;
    assert_eq!((&quality["goldTasks"], &quality["evaluated"]), (&json!(2), &json!(2)));
    assert_eq!(quality["accuracy"], 0.5);
    assert_eq!(quality["results"][1]["given"], json!([factory::choice("blue")]));
    // Nothing of gold is in what is delivered.
    for (name, content) in &objects {
        let holds_gold = String::from_utf8_lossy(content).contains("gold/");
        assert_eq!(holds_gold, name.contains("quality"), "{name}");
    }

    batch.export().await;
    assert_eq!(batch.objects(), objects);
    batch.fleet.tear_down().await;
}

/// `pycocotools` reads the file, and its masks have the areas that the shapes have.
#[tokio::test]
async fn pycocotools_reads_the_coco_file() {
    let batch = Batch::published(4, 0, &[ExportFormat::Coco]).await;
    let triangle = json!({"points": [[0, 0], [50, 0], [0, 100]]});
    // The whole of an image of 4 by 2 pixels, as one run: 32 values of 8 bits, run lengths of 3, 4, 8 and 16 bits.
    let mut brush = on_image("brushlabels", "sky", json!({"format": "rle", "rle": rle_of_one_run(32)}));
    (brush["original_width"], brush["original_height"]) = (json!(4), json!(2));
    let results = [
        json!([
            rectangle("car", [10.0, 20.0, 30.0, 40.0], 0.0),
            rectangle("bus", [50.0, 20.0, 20.0, 10.0], 90.0)
        ]),
        json!([on_image("polygonlabels", "road", triangle)]),
        json!([brush]),
        json!([on_image("ellipselabels", "car", json!({"x": 50, "y": 50, "radiusX": 10, "radiusY": 30}))]),
    ];
    for (task, result) in batch.tasks.iter().zip(results) {
        batch.submit(*task, result).await;
    }
    batch.export().await;

    let python = support::server("TEST_PYTHON");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/read_coco.py");
    let file = batch.storage.path(&batch.key(".coco.json"));
    let read = tokio::process::Command::new(python).arg(script).arg(file).output().await.unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let read: Value = serde_json::from_slice(&read.stdout).unwrap();
    assert_eq!(read["images"], 4);
    let expected = [
        ("images/00000.png", "car", 2400.0),
        ("images/00000.png", "bus", 400.0),
        ("images/00001.png", "road", 5000.0),
        ("images/00002.png", "sky", 8.0),
        ("images/00003.png", "car", std::f64::consts::PI * 20.0 * 30.0),
    ];
    let annotations = read["annotations"].as_array().unwrap();
    assert_eq!(annotations.len(), expected.len());
    for (annotation, (image, category, area)) in annotations.iter().zip(expected) {
        assert_eq!((&annotation["image"], &annotation["category"]), (&json!(image), &json!(category)));
        for given in [&annotation["area"], &annotation["mask"]] {
            let given = given.as_f64().unwrap();
            // A mask is of whole pixels: along a slanted edge some belong to it by chance.
            assert!((given / area - 1.0).abs() < 0.02, "{annotation} instead of {area}");
        }
    }
    batch.fleet.tear_down().await;
}

/// Label Studio's packing of `values` times 255.
fn rle_of_one_run(values: u32) -> Vec<u8> {
    let bits = format!(
        "{values:032b}{:05b}{:04b}{:04b}{:04b}{:04b}1{:02b}{:08b}{:08b}",
        7,
        2,
        3,
        7,
        15,
        2,
        values - 1,
        255
    );
    let bits: Vec<u8> = bits.bytes().map(|bit| bit - b'0').collect();
    bits.chunks(8)
        .map(|byte| byte.iter().enumerate().fold(0, |all, (at, bit)| all | bit << (7 - at)))
        .collect()
}

/// A worker dies between two parts of an upload: nothing is to be seen of it, and the file's next run ends it.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_died_leaves_nothing_behind() {
    let batch = Batch::published(40, 0, &[ExportFormat::Jsonl]).await;
    let long = "x".repeat(1_000_000);
    for task in &batch.tasks {
        batch
            .submit(*task, json!([{"from_name": "note", "type": "textarea", "value": {"text": [long]}}]))
            .await;
    }
    let parts = || {
        let entries = std::fs::read_dir(batch.storage.path("").parent().unwrap()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(".part-")).count()
    };
    let begun =
        wait::until("a part is sent", Duration::from_secs(60), || async { (parts() > 0).then_some(()) });
    batch.fleet.run(ExportAssignment { assignment_id: batch.assignment_id }).await.unwrap();
    let mut files = batch.fleet.due::<ExportFile>().await.into_iter();
    let (id, file) = files.next().unwrap();
    batch.fleet.claim(id, 1).await;
    tokio::select! {
        outcome = batch.fleet.run_claimed(file, id, 1) => panic!("it ended before it could die: {outcome:?}"),
        () = begun => {}
    }
    assert!(parts() > 0);
    assert_eq!(batch.objects().keys().collect::<Vec<_>>(), Vec::<&String>::new());
    let uploads = "SELECT count(*) FROM export_uploads";
    let open: i64 = sqlx::query_scalar(uploads).fetch_one(&batch.fleet.database.pool).await.unwrap();
    assert_eq!(open, 1);

    for (id, file, attempt) in [(id, file, 2)].into_iter().chain(files.map(|(id, file)| (id, file, 1))) {
        batch.fleet.claim(id, attempt).await;
        batch.fleet.run_claimed(file, id, attempt).await.unwrap();
        assert_eq!(parts(), 0);
    }
    batch.fleet.run(ExportAssignment { assignment_id: batch.assignment_id }).await.unwrap();
    let open: i64 = sqlx::query_scalar(uploads).fetch_one(&batch.fleet.database.pool).await.unwrap();
    assert_eq!(open, 0);
    batch.is_whole().await;
    assert!(batch.objects().values().any(|content| content.len() > 40_000_000));
    batch.fleet.tear_down().await;
}

/// While the files are of two exports there is no manifest.
#[tokio::test]
async fn a_failed_export_takes_the_manifest_away() {
    let batch = Batch::published(1, 0, &[ExportFormat::Csv]).await;
    batch.submit(batch.tasks[0], json!([factory::choice("red")])).await;
    batch.export().await;
    // A folder stands where the file goes, so the endpoint refuses it.
    let csv = batch.storage.path(&batch.key(".csv"));
    std::fs::remove_file(&csv).unwrap();
    std::fs::create_dir_all(csv.join("x")).unwrap();
    let failed = batch.fleet.export(batch.assignment_id).await;
    assert!(failed.is_err(), "{failed:?}");
    assert!(!batch.has_manifest());
    std::fs::remove_dir_all(&csv).unwrap();
    batch.export().await;
    batch.is_whole().await;
    batch.fleet.tear_down().await;
}

/// The last answer completes the batch, and its export may be quicker than its score.
#[tokio::test]
async fn a_score_that_comes_after_the_export_is_exported_too() {
    let batch = Batch::published(2, 1, &[]).await;
    for task in batch.tasks.iter().chain(batch.gold.iter().map(|(_, task)| task)) {
        batch.submit(*task, json!([factory::choice("red")])).await;
    }
    batch.export().await;
    assert_eq!(batch.json(".quality.json").await["accuracy"], Value::Null);
    assert_eq!(batch.fleet.open_jobs::<ExportAssignment>().await, 0);
    for (place, _) in &batch.gold {
        batch.fleet.run(ScoreGold { assignment_task_id: *place }).await.unwrap();
    }
    assert_eq!(batch.fleet.open_jobs::<ExportAssignment>().await, 1);
    batch.export().await;
    assert_eq!(batch.json(".quality.json").await["accuracy"], 1.0);
    batch.fleet.tear_down().await;
}

#[tokio::test]
async fn an_unfinished_batch_is_not_exported() {
    let batch = Batch::published(2, 0, &[]).await;
    batch.submit(batch.tasks[0], json!([factory::choice("red")])).await;
    assert_eq!(batch.export().await, Value::Null);
    assert!(batch.objects().is_empty());
    batch.fleet.tear_down().await;
}
