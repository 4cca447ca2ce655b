//! Whether a gold task's expected labels could come from an interface: what no annotator can answer would
//! score everybody down.
//!
//! Regions have the shape of Label Studio's task format (<https://labelstud.io/guide/task_format>).

use serde_json::{Map, Value};

use super::{ControlTag, Family, Interface, carries_labels, family, tags};
use crate::domain::check::Issue;

type Region = Map<String, Value>;

/// Everything in `regions` that this interface can't bring forth, by paths below `path`.
pub fn misfits(interface: &Interface, path: &str, regions: &[Region]) -> Vec<Issue> {
    let mut misfits = Misfits { interface, issues: Vec::new() };
    for (index, region) in regions.iter().enumerate() {
        misfits.region(&format!("{path}[{index}]"), region);
    }
    misfits.issues
}

struct Misfits<'a> {
    interface: &'a Interface,
    issues: Vec<Issue>,
}

impl Misfits<'_> {
    fn add(&mut self, path: String, message: impl Into<String>) {
        self.issues.push(Issue { path, message: message.into() });
    }

    fn region(&mut self, path: &str, region: &Region) {
        let text = |field: &str| region.get(field).and_then(Value::as_str);
        // Relations join regions; they have no control, and are not scored.
        if text("type") == Some("relation") {
            return;
        }
        let control = match text("from_name") {
            None => {
                self.add(format!("{path}.from_name"), "must name a control tag of the labeling config");
                None
            }
            Some(name) => {
                let control = self.interface.control(name).cloned();
                if control.is_none() {
                    let known = listed(self.interface.control_tags.iter().map(|control| &control.name));
                    self.add(
                        format!("{path}.from_name"),
                        format!("the labeling config has no control tag {name:?}: use {known}"),
                    );
                }
                control
            }
        };
        let kind = text("type").unwrap_or_default();
        if kind.is_empty() {
            self.add(format!("{path}.type"), "must be the control tag's type, such as \"choices\"");
        }
        if let Some(control) = &control {
            let to_name = text("to_name").unwrap_or_default();
            if !control.to_name.iter().any(|name| super::names(name, to_name)) {
                let known = listed(control.to_name.iter());
                self.add(
                    format!("{path}.to_name"),
                    format!("must be what {:?} points at: {known}", control.name),
                );
            }
            if !kind.is_empty() && !tags::gives(&control.tag, kind) {
                self.add(
                    format!("{path}.type"),
                    format!("<{}> gives {:?}", control.tag, control.tag.to_ascii_lowercase()),
                );
                return;
            }
        }
        self.value(path, region, kind, control.as_ref());
        if let Some(tolerance) = region.get("tolerance")
            && tolerance.as_f64().is_none_or(|tolerance| tolerance < 0.0)
        {
            self.add(format!("{path}.tolerance"), "must be a number from 0");
        }
    }

    fn value(&mut self, path: &str, region: &Region, kind: &str, control: Option<&ControlTag>) {
        let at = format!("{path}.value");
        let Some(value) = region.get("value").and_then(Value::as_object) else {
            return self.add(at, "must be an object");
        };
        match family(kind) {
            Family::Choices => self.picks(&format!("{at}.choices"), value.get("choices"), control),
            Family::Taxonomy => self.require(&at, value, "taxonomy", "a list of paths", |value| {
                list(value, |path| list(path, Value::is_string))
            }),
            Family::Rating | Family::Number => {
                let key = if family(kind) == Family::Rating { "rating" } else { "number" };
                self.require(&at, value, key, "a number", Value::is_number);
            }
            Family::DateTime => self.require(&at, value, "datetime", "a text", Value::is_string),
            Family::TextArea => self.require(&at, value, "text", "a text or a list of texts", |value| {
                value.is_string() || list(value, Value::is_string)
            }),
            Family::Pairwise => {
                self.require(&at, value, "selected", "\"left\" or \"right\"", |value| {
                    matches!(value.as_str(), Some("left" | "right"))
                });
            }
            Family::Rectangle => self.numbers(&at, value, &["x", "y", "width", "height"]),
            Family::Ellipse => self.numbers(&at, value, &["x", "y", "radiusX", "radiusY"]),
            Family::KeyPoint => self.numbers(&at, value, &["x", "y"]),
            Family::Polygon => self.require(&at, value, "points", "a list of 3 or more [x, y]", |value| {
                value.as_array().is_some_and(|points| points.len() >= 3)
                    && list(value, |point| {
                        list(point, Value::is_number) && point.as_array().is_some_and(|xy| xy.len() == 2)
                    })
            }),
            Family::Brush => self.require(&at, value, "rle", "a list of bytes", |value| {
                list(value, |byte| byte.as_u64().is_some_and(|byte| byte <= 255))
            }),
            Family::Span => {
                for key in ["start", "end"] {
                    self.require(&at, value, key, "a position", |value| {
                        value.is_number() || value.is_string()
                    });
                }
            }
            Family::Timeline => self.require(&at, value, "ranges", "a list of {start, end}", |value| {
                list(value, |range| range["start"].is_number() && range["end"].is_number())
            }),
            Family::Ranker | Family::Other => {}
        }
        if carries_labels(kind) {
            self.picks(&format!("{at}.{kind}"), value.get(kind), control);
        }
    }

    fn require(&mut self, at: &str, value: &Region, key: &str, wanted: &str, fits: impl Fn(&Value) -> bool) {
        if !value.get(key).is_some_and(fits) {
            self.add(format!("{at}.{key}"), format!("must be {wanted}"));
        }
    }

    fn numbers(&mut self, at: &str, value: &Region, keys: &[&str]) {
        for key in keys {
            self.require(at, value, key, "a number", Value::is_number);
        }
    }

    /// Labels or choices: texts (or paths of texts, where choices are nested), of those that the control has.
    fn picks(&mut self, at: &str, picks: Option<&Value>, control: Option<&ControlTag>) {
        let Some(picks) = picks.and_then(Value::as_array).filter(|picks| !picks.is_empty()) else {
            return self.add(at.to_owned(), "must be a list with at least one of the control's labels");
        };
        let Some(control) = control else { return };
        if picks.len() > 1 && control.tag == "Choices" && !control.multiple {
            self.add(at.to_owned(), "one choice only: the control has no choice=\"multiple\"");
        }
        for (index, pick) in picks.iter().enumerate() {
            let steps: Vec<&Value> = pick.as_array().map_or_else(|| vec![pick], |path| path.iter().collect());
            let fits = |step: &&Value| {
                step.as_str().is_some_and(|step| {
                    control.labels.is_empty() || control.labels.iter().any(|label| label == step)
                })
            };
            if !steps.iter().all(fits) {
                let known = listed(control.labels.iter());
                let message = if control.labels.is_empty() { "must be a text".to_owned() } else { known };
                self.add(format!("{at}[{index}]"), format!("not a label of {:?}: {message}", control.name));
            }
        }
    }
}

fn list(value: &Value, fits: impl Fn(&Value) -> bool) -> bool {
    value.as_array().is_some_and(|items| items.iter().all(fits))
}

/// Up to ten names, for an error's advice.
fn listed<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let some: Vec<_> = names.take(10).map(|name| format!("{name:?}")).collect();
    if some.is_empty() { "it has none".to_owned() } else { some.join(", ") }
}
