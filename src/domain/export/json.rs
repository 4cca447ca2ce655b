//! Label Studio's own JSON, as an array and a line each. Everything is in it: skips (`was_cancelled`), every annotation
//! of a task, every kind of result. The image is named by its place in S3 instead of our opaque URL.

use std::io;

use serde_json::{Value, json};

use super::{Encode, Task, is_skip};

#[derive(Debug, Default)]
pub struct Json {
    has_task: bool,
}

impl Encode for Json {
    fn task(&mut self, _: u8, task: &Task, out: &mut Vec<u8>) -> io::Result<()> {
        out.extend_from_slice(if self.has_task { b",\n" } else { b"[\n" });
        self.has_task = true;
        Ok(serde_json::to_writer(out, &entry(task))?)
    }

    fn end(&mut self, _: u8, out: &mut Vec<u8>) -> io::Result<()> {
        out.extend_from_slice(if self.has_task { b"\n]\n" } else { b"[]\n" });
        Ok(())
    }
}

#[derive(Debug)]
pub struct Jsonl;

impl Encode for Jsonl {
    fn task(&mut self, _: u8, task: &Task, out: &mut Vec<u8>) -> io::Result<()> {
        serde_json::to_writer(&mut *out, &entry(task))?;
        out.push(b'\n');
        Ok(())
    }
}

/// A task with the fields of Label Studio's export that mean something outside of it.
fn entry(task: &Task) -> Value {
    let cancelled = task.annotations.iter().filter(|annotation| is_skip(annotation)).count();
    json!({
        "id": task.ls_task_id,
        "inner_id": task.position + 1,
        "data": {"image": task.image()},
        "meta": {"taskUid": task.uid},
        "project": task.ls_project_id,
        "annotations": task.annotations,
        "predictions": [],
        "total_annotations": task.annotations.len() - cancelled,
        "cancelled_annotations": cancelled,
        "total_predictions": 0,
    })
}

#[cfg(test)]
mod tests {
    use super::{super::tests::*, *};
    use crate::domain::ExportFormat;

    fn tasks() -> Vec<Task> {
        let mut skip = annotation(2, vec![]);
        skip["was_cancelled"] = json!(true);
        let odd = "\"quoted\",\nnext line, ÄÖ 漢字 \u{1F600}";
        vec![task(0, vec![annotation(1, vec![choice(odd)]), skip]), task(3, vec![])]
    }

    #[test]
    fn an_array_holds_annotations_as_they_were_told() {
        let read: Vec<Value> = serde_json::from_str(&text(ExportFormat::Json, &tasks())).unwrap();
        assert_eq!(read[0]["annotations"], json!(tasks()[0].annotations));
        assert_eq!(read[0]["data"]["image"], "s3://fleet/images/000.jpg");
        assert_eq!(
            (&read[0]["total_annotations"], &read[0]["cancelled_annotations"]),
            (&json!(1), &json!(1))
        );
        assert_eq!((&read[1]["id"], &read[1]["annotations"]), (&json!(1003), &json!([])));
        assert_eq!(text(ExportFormat::Json, &[]), "[]\n");
    }

    #[test]
    fn lines_are_the_arrays_entries() {
        let lines: Vec<Value> = text(ExportFormat::Jsonl, &tasks())
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(json!(lines), serde_json::from_str::<Value>(&text(ExportFormat::Json, &tasks())).unwrap());
    }
}
