//! A row an annotation, a column a control: for spreadsheets and data frames. Skips are rows too.
//!
//! A control that holds one plain value (a choice, a text, a number, a rating) is written as that value, several choices
//! or texts as a JSON array of them, anything else as a JSON array of its values in Label Studio's form. Nothing is
//! put before a value that begins like a formula (`=`, `+`, `-`, `@`): a label `-1` has to stay `-1`, and those who
//! open the file in a spreadsheet can import its columns as text.

use std::{collections::BTreeMap, io};

use serde_json::Value;

use super::{Encode, Interface, Task, is_skip};

const FIXED: [&str; 9] = [
    "task_id",
    "task_uid",
    "image",
    "annotation_id",
    "was_cancelled",
    "completed_by",
    "created_at",
    "updated_at",
    "lead_time",
];

/// What controls told that are not in the config: a JSON object by their names.
const OTHER: &str = "other";

#[derive(Debug)]
pub struct Csv {
    controls: Vec<String>,
}

impl Csv {
    pub fn new(interface: &Interface) -> Self {
        Self { controls: interface.controls.clone() }
    }
}

impl Encode for Csv {
    fn begin(&mut self, _: u8, out: &mut Vec<u8>) -> io::Result<()> {
        let controls = self.controls.iter().map(String::as_str);
        write(out, FIXED.into_iter().chain(controls).chain([OTHER]))
    }

    fn task(&mut self, _: u8, task: &Task, out: &mut Vec<u8>) -> io::Result<()> {
        for annotation in &task.annotations {
            let field = |name: &str| plain(&annotation[name]).unwrap_or_default();
            let fixed = [
                task.ls_task_id.map(|id| id.to_string()).unwrap_or_default(),
                task.uid.to_string(),
                task.image(),
                field("id"),
                is_skip(annotation).to_string(),
                completed_by(&annotation["completed_by"]),
                field("created_at"),
                field("updated_at"),
                field("lead_time"),
            ];
            let mut told = by_control(annotation);
            let known: Vec<String> = self
                .controls
                .iter()
                .map(|name| told.remove(name.as_str()).map(|results| cell(&results)).unwrap_or_default())
                .collect();
            let other = match told.is_empty() {
                true => String::new(),
                false => serde_json::to_string(&told)?,
            };
            write(out, fixed.iter().chain(&known).chain([&other]))?;
        }
        Ok(())
    }
}

fn write<T: AsRef<[u8]>>(out: &mut Vec<u8>, cells: impl IntoIterator<Item = T>) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(cells)?;
    writer.flush()
}

/// Label Studio tells an id, or the whole person.
fn completed_by(person: &Value) -> String {
    plain(person).or_else(|| plain(&person["id"])).unwrap_or_default()
}

fn by_control(annotation: &Value) -> BTreeMap<&str, Vec<&Value>> {
    let mut controls: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for result in annotation["result"].as_array().into_iter().flatten() {
        if let Some(name) = result["from_name"].as_str() {
            controls.entry(name).or_default().push(result);
        }
    }
    controls
}

fn cell(results: &[&Value]) -> String {
    let values: Vec<Value> = results.iter().map(|result| value(result)).collect();
    match values.as_slice() {
        [Value::Array(one)] if one.len() == 1 => one.first().and_then(plain),
        [one] => plain(one),
        _ => None,
    }
    .unwrap_or_else(|| match values.as_slice() {
        [list @ Value::Array(_)] => list.to_string(),
        _ => Value::Array(values).to_string(),
    })
}

/// Of a result about the whole image the value alone, of a region all that says where it is.
fn value(result: &Value) -> Value {
    let kind = result["type"].as_str().unwrap_or_default();
    let value = &result["value"];
    match value.as_object() {
        Some(object) if object.len() == 1 => object.get(kind).unwrap_or(value).clone(),
        Some(object) => {
            let mut object = object.clone();
            for name in ["original_width", "original_height"] {
                object.insert(name.to_owned(), result[name].clone());
            }
            Value::Object(object)
        }
        None => value.clone(),
    }
}

/// A value that needs no brackets.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::tests::*, *};
    use crate::domain::ExportFormat;

    fn rows(tasks: &[Task]) -> Vec<BTreeMap<String, String>> {
        let text = text(ExportFormat::Csv, tasks);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        reader.deserialize().map(|row| row.unwrap()).collect()
    }

    #[test]
    fn a_row_an_annotation_and_a_column_a_control() {
        let odd = "=1+\"x\",\n漢字";
        let note = region("note", "textarea", &[], json!({"text": [odd]}));
        let mut skip = annotation(8, vec![]);
        skip["was_cancelled"] = json!(true);
        let both = region("weather", "choices", &["sun", "rain"], json!({}));
        let task = task(4, vec![annotation(7, vec![choice(odd), note]), skip, annotation(9, vec![both])]);
        let rows = rows(&[task]);
        assert_eq!(rows.len(), 3);
        let expected = [
            ("task_id", "1004"),
            ("image", "s3://fleet/images/004.jpg"),
            ("annotation_id", "7"),
            ("was_cancelled", "false"),
            ("completed_by", "1"),
            ("lead_time", "2.5"),
            ("weather", odd),
            ("box", ""),
            ("other", ""),
        ];
        for (column, value) in expected {
            assert_eq!(rows[0][column], value, "{column}");
        }
        assert_eq!((rows[1]["was_cancelled"].as_str(), rows[1]["weather"].as_str()), ("true", ""));
        assert_eq!(rows[2]["weather"], r#"["sun","rain"]"#);
    }

    #[test]
    fn regions_are_written_whole_and_unknown_controls_are_kept() {
        let boxes = vec![
            rectangle("car", 1.0, 2.0, 3.0, 4.0, 0.0),
            rectangle("person, tall", 5.0, 6.0, 7.0, 8.0, 0.0),
        ];
        let mut results = boxes;
        results.push(region("removed", "choices", &["x"], json!({})));
        let rows = rows(&[task(1, vec![annotation(1, results)])]);
        let boxes: Value = serde_json::from_str(&rows[0]["box"]).unwrap();
        assert_eq!(boxes[1]["rectanglelabels"], json!(["person, tall"]));
        assert_eq!((&boxes[0]["x"], &boxes[0]["original_width"]), (&json!(1.0), &json!(200)));
        let other: Value = serde_json::from_str(&rows[0]["other"]).unwrap();
        assert_eq!(other["removed"][0]["value"]["choices"], json!(["x"]));
    }

    #[test]
    fn single_values_are_plain() {
        let told = |kind: &str, value: Value| cell(&[&json!({"type": kind, "value": {kind: value}})]);
        assert_eq!(told("rating", json!(4)), "4");
        assert_eq!(told("number", json!(-1.5)), "-1.5");
        assert_eq!(told("choices", json!(["cat"])), "cat");
        assert_eq!(told("taxonomy", json!([["a", "b"]])), r#"[["a","b"]]"#);
    }
}
