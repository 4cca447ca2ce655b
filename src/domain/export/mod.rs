//! What an assignment is delivered as: one file of code a format, pure and streaming. An [`Encode`] gets the tasks one
//! after the other and appends bytes, so that memory does not grow with the batch, and the same tasks come to the
//! same bytes. `docs/EXPORTS.md` says what users of the files need.
//!
//! - [`json`], [`csv`]: everything that was told, skips too
//! - [`coco`], [`yolo`], [`voc`]: the regions of the one annotation that stands, of the kinds that the format knows;
//!   what it does not know is counted in [`LeftOut`]
//! - [`quality`], [`manifest`]: what lies beside
//! - [`interface`]: categories and columns; [`region`], [`brush`]: geometry; [`archive`]: many small files as one

use std::{collections::BTreeMap, io};

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::ExportFormat;

mod archive;
mod brush;
mod coco;
mod csv;
pub mod interface;
mod json;
pub mod manifest;
pub mod quality;
mod region;
mod voc;
mod yolo;

pub use interface::Interface;
pub use region::Reason;

/// A task of the batch with every annotation of it that was not deleted, as Label Studio told them.
#[derive(Debug, Clone)]
pub struct Task {
    /// Within the batch, gold counted: unique, with gaps.
    pub position: i32,
    pub uid: Uuid,
    pub image_key: String,
    pub bucket: String,
    pub ls_task_id: Option<i64>,
    pub ls_project_id: Option<i64>,
    pub annotations: Vec<Value>,
}

impl Task {
    /// Where the image lies: `s3://{bucket}/{key}`.
    pub fn image(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.image_key)
    }

    /// Of several annotations the one changed last that is no skip: the one that finished the task.
    pub fn standing(&self) -> Option<&Value> {
        let time =
            |annotation: &Value| -> Option<DateTime<Utc>> { annotation["updated_at"].as_str()?.parse().ok() };
        self.annotations
            .iter()
            .filter(|annotation| !is_skip(annotation))
            .max_by_key(|annotation| (time(annotation), annotation["id"].as_i64()))
    }
}

fn is_skip(annotation: &Value) -> bool {
    annotation["was_cancelled"] == true
}

/// Regions that a format can't hold, by why.
pub type LeftOut = BTreeMap<Reason, u64>;

/// Turns tasks into the bytes of one file. Called in order: for each pass [`Encode::begin`], [`Encode::task`] for
/// each task, [`Encode::end`]; whoever calls takes the bytes out of `out` as they come.
pub trait Encode: Send {
    /// How often the tasks are gone through.
    fn passes(&self) -> u8 {
        1
    }

    fn begin(&mut self, _pass: u8, _out: &mut Vec<u8>) -> io::Result<()> {
        Ok(())
    }

    fn task(&mut self, pass: u8, task: &Task, out: &mut Vec<u8>) -> io::Result<()>;

    fn end(&mut self, _pass: u8, _out: &mut Vec<u8>) -> io::Result<()> {
        Ok(())
    }

    fn left_out(&self) -> LeftOut {
        LeftOut::new()
    }
}

impl ExportFormat {
    /// What follows `assignment-{id}` in the key.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Json => ".json",
            Self::Jsonl => ".jsonl",
            Self::Csv => ".csv",
            Self::Coco => ".coco.json",
            Self::Yolo => ".yolo.tar",
            Self::Voc => ".voc.tar",
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json | Self::Coco => "application/json",
            Self::Jsonl => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Yolo | Self::Voc => "application/x-tar",
        }
    }

    /// Raised when what is written changes in a way that readers notice.
    pub fn version(self) -> u32 {
        1
    }

    pub fn encoder(self, interface: &Interface) -> Box<dyn Encode> {
        match self {
            Self::Json => Box::new(json::Json::default()),
            Self::Jsonl => Box::new(json::Jsonl),
            Self::Csv => Box::new(csv::Csv::new(interface)),
            Self::Coco => Box::new(coco::Coco::new(interface)),
            Self::Yolo => Box::new(yolo::Yolo::new(interface)),
            Self::Voc => Box::new(voc::Voc::default()),
        }
    }
}

#[cfg(test)]
pub mod tests {
    //! Annotations made by hand, and files written from them.

    use serde_json::json;

    use super::*;

    pub const CONFIG: &str = r#"<View><Image name="image" value="$image"/>
        <RectangleLabels name="box" toName="image"><Label value="car"/><Label value="person, tall"/></RectangleLabels>
        <PolygonLabels name="area" toName="image"><Label value="road"/><Label value="car"/></PolygonLabels>
        <BrushLabels name="brush" toName="image"><Label value="sky" alias="himmel"/></BrushLabels>
        <Choices name="weather" toName="image"><Choice value="sun"/><Choice value="rain"/></Choices>
        <TextArea name="note" toName="image"/></View>"#;

    pub fn task(position: i32, annotations: Vec<Value>) -> Task {
        Task {
            position,
            uid: Uuid::from_u128(position as u128),
            image_key: format!("images/{position:03}.jpg"),
            bucket: "fleet".into(),
            ls_task_id: Some(1000 + i64::from(position)),
            ls_project_id: Some(5),
            annotations,
        }
    }

    pub fn annotation(id: i64, result: Vec<Value>) -> Value {
        json!({
            "id": id, "result": result, "was_cancelled": false, "completed_by": 1, "lead_time": 2.5,
            "created_at": "2026-04-06T12:00:00Z", "updated_at": format!("2026-04-06T12:00:{id:02}Z"),
        })
    }

    /// On an image of 200 by 100 pixels.
    pub fn region(from: &str, kind: &str, labels: &[&str], mut value: Value) -> Value {
        value[kind] = json!(labels);
        json!({
            "id": format!("{from}-1"), "from_name": from, "to_name": "image", "type": kind, "value": value,
            "original_width": 200, "original_height": 100,
        })
    }

    pub fn rectangle(label: &str, x: f64, y: f64, width: f64, height: f64, rotation: f64) -> Value {
        let value = json!({"x": x, "y": y, "width": width, "height": height, "rotation": rotation});
        region("box", "rectanglelabels", &[label], value)
    }

    pub fn choice(label: &str) -> Value {
        region("weather", "choices", &[label], json!({}))
    }

    /// The file of these tasks, whole.
    pub fn encode(format: ExportFormat, tasks: &[Task]) -> (Vec<u8>, LeftOut) {
        let mut encoder = format.encoder(&Interface::parse(CONFIG));
        let mut out = Vec::new();
        for pass in 0..encoder.passes() {
            encoder.begin(pass, &mut out).unwrap();
            for task in tasks {
                encoder.task(pass, task, &mut out).unwrap();
            }
            encoder.end(pass, &mut out).unwrap();
        }
        (out, encoder.left_out())
    }

    pub fn text(format: ExportFormat, tasks: &[Task]) -> String {
        String::from_utf8(encode(format, tasks).0).unwrap()
    }

    /// Name and content of each file of an archive, in order.
    pub fn files(format: ExportFormat, tasks: &[Task]) -> Vec<(String, String)> {
        let (bytes, _) = encode(format, tasks);
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_str().unwrap().to_owned();
            assert_eq!(entry.header().mtime().unwrap(), 0, "{name}");
            let mut content = String::new();
            io::Read::read_to_string(&mut entry, &mut content).unwrap();
            (name, content)
        });
        entries.collect()
    }

    #[test]
    fn the_last_changed_that_is_no_skip_stands() {
        let mut skipped = annotation(9, vec![]);
        skipped["was_cancelled"] = json!(true);
        let task = task(
            1,
            vec![annotation(3, vec![]), annotation(5, vec![]), annotation(4, vec![]), skipped.clone()],
        );
        assert_eq!(task.standing().unwrap()["id"], 5);
        assert_eq!(self::task(1, vec![skipped]).standing(), None);
    }

    #[test]
    fn the_same_tasks_are_the_same_bytes_and_none_is_a_file_too() {
        let tasks = [task(1, vec![annotation(1, vec![rectangle("car", 10.0, 10.0, 20.0, 20.0, 0.0)])])];
        for &format in ExportFormat::ALL {
            assert_eq!(encode(format, &tasks), encode(format, &tasks), "{format}");
            assert!(!encode(format, &[]).0.is_empty() || format == ExportFormat::Jsonl, "{format}");
        }
    }

    /// Whatever Label Studio, or somebody in its name, tells: no format fails on it.
    #[test]
    fn odd_results_do_no_harm() {
        let odd = [
            json!(null),
            json!([1]),
            json!({"type": 3}),
            json!({"type": "rectanglelabels", "value": {"x": "a", "rectanglelabels": [1, "car"]}}),
            json!({"type": "rectanglelabels", "original_width": -5, "original_height": 1e300,
                   "value": {"x": 1e308, "y": -1e308, "width": 1e308, "height": 0, "rotation": 1e308,
                             "rectanglelabels": ["c\u{0}ar"]}}),
            json!({"type": "polygonlabels", "original_width": 9, "original_height": 9,
                   "value": {"points": [[1, 2], [3], "x", [1, 2, 3]], "polygonlabels": ["car"]}}),
            json!({"type": "brushlabels", "original_width": 100000, "original_height": 100000,
                   "value": {"format": "rle", "rle": [255, 255, 255, 255, 3, 999, "x"], "brushlabels": ["sky"]}}),
        ];
        let mut bare = annotation(1, vec![]);
        bare["result"] = json!("none");
        let mut tasks = vec![task(1, vec![bare, json!(7)])];
        tasks.extend(
            (2..).zip(odd).map(|(position, region)| task(position, vec![annotation(1, vec![region])])),
        );
        tasks[0].image_key = "/../a//./b\u{1}".into();
        for &format in ExportFormat::ALL {
            encode(format, &tasks);
        }
    }
}
