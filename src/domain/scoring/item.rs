//! A region, read for comparing.

use serde_json::Value;

use super::{
    answer::{self, Answer},
    brush::Mask,
    shape::Shape,
    span::Spans,
};
use crate::domain::interface::{Family, family};

/// From here on two outlines show the same thing (PASCAL VOC, COCO).
const LEAST_OVERLAP: f64 = 0.5;

#[derive(Debug)]
pub(super) struct Item {
    /// The object, and its page.
    place: (String, Option<i64>),
    /// Sorted.
    labels: Vec<String>,
    content: Content,
    value: Value,
}

#[derive(Debug)]
enum Content {
    Answer(Answer),
    Shape(Shape),
    Mask(Mask),
    Spans(Spans),
    /// Compared as a whole: no rule is known for it.
    Whole,
    /// Compared as a whole because it can't be read.
    Unread,
}

impl Item {
    /// `multiple`: the control takes more than one choice.
    pub fn read(region: &Value, multiple: bool) -> Self {
        let value = region.get("value").cloned().unwrap_or_default();
        let kind = region.get("type").and_then(Value::as_str).unwrap_or_default();
        Self {
            place: (
                region.get("to_name").and_then(Value::as_str).unwrap_or_default().to_owned(),
                region.get("item_index").and_then(Value::as_i64),
            ),
            labels: answer::texts(value.get(kind.to_ascii_lowercase()).filter(|_| kind.ends_with("labels"))),
            content: content(region, &value, kind, multiple),
            value,
        }
    }

    pub fn is_unread(&self) -> bool {
        matches!(self.content, Content::Unread)
    }

    /// Computes once what each comparison needs.
    pub fn measure(&mut self) {
        if let Content::Shape(shape) = &mut self.content {
            shape.measure();
        }
    }

    /// How often two outlines cross; 0 for anything else.
    pub fn crossings(&self, other: &Self) -> u64 {
        match (&self.content, &other.content) {
            (Content::Shape(a), Content::Shape(b)) => a.crossings(b),
            _ => 0,
        }
    }

    /// The steps that comparing takes, about; [`Self::crossings`] not counted.
    pub fn cost(&self, other: &Self) -> u64 {
        match (&self.content, &other.content) {
            (Content::Answer(a), Content::Answer(b)) => a.cost(b),
            (Content::Shape(a), Content::Shape(b)) => a.cost(b),
            (Content::Mask(a), Content::Mask(b)) => a.cost(b),
            (Content::Spans(a), Content::Spans(b)) => a.cost(b),
            _ => 1,
        }
    }

    /// 0 to 1; 0 where the two are no pair.
    pub fn similarity(&self, other: &Self) -> f64 {
        if self.place != other.place || self.labels != other.labels {
            return 0.0;
        }
        // Exactly 1, whatever rounding makes of it.
        if self.value == other.value {
            return 1.0;
        }
        let (similarity, least) = match (&self.content, &other.content) {
            (Content::Answer(a), Content::Answer(b)) => (a.similarity(b), 0.0),
            (Content::Shape(a), Content::Shape(b)) => (a.similarity(b), LEAST_OVERLAP),
            (Content::Mask(a), Content::Mask(b)) => (a.overlap(b), LEAST_OVERLAP),
            (Content::Spans(a), Content::Spans(b)) => (a.overlap(b), LEAST_OVERLAP),
            _ => (0.0, 1.0),
        };
        if similarity.is_finite() && similarity >= least { similarity.clamp(0.0, 1.0) } else { 0.0 }
    }
}

fn content(region: &Value, value: &Value, kind: &str, multiple: bool) -> Content {
    let read = match family(kind) {
        Family::Other => return Content::Whole,
        Family::Brush => Mask::read(region, value).map(Content::Mask),
        Family::Span | Family::Timeline => Spans::read(value)
            .map(Content::Spans)
            // `<Labels>` beside a geometry control repeats the geometry that it labels.
            .or_else(|| Shape::read(region, value).map(Content::Shape))
            .or_else(|| Mask::read(region, value).map(Content::Mask)),
        Family::Rectangle | Family::Ellipse | Family::Polygon | Family::KeyPoint => {
            Shape::read(region, value).map(Content::Shape)
        }
        family => Answer::read(family, region, value, multiple).map(Content::Answer),
    };
    read.unwrap_or(Content::Unread)
}
