//! Regions of an image: what Label Studio writes in percent of the image, as pixels.
//!
//! Source: the Label Studio documentation, "Image annotation units" and the result formats of its tags. A rectangle
//! turns clockwise about its top left corner, an ellipse about its centre, both in pixels: in percent a rotation is no
//! rotation unless the image is square.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::brush::{self, Mask};

/// Why a region is not in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// `original_width` and `original_height` are missing.
    UnknownImageSize,
    /// A kind of region that the format has no place for: key points, for one.
    UnknownShape,
    /// Coordinates are missing, no numbers, or enclose nothing.
    Malformed,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Region {
    /// At least one: a region without a label has its control's name.
    pub labels: Vec<String>,
    /// Of the image, in pixels.
    pub size: Option<Size>,
    shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Size {
    pub width: u32,
    pub height: u32,
}

pub type Point = [f64; 2];

/// In percent of the image.
#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Rectangle { corner: Point, sides: Point, rotation: f64 },
    Ellipse { centre: Point, radii: Point, rotation: f64 },
    Polygon(Vec<Point>),
    Brush(Vec<u8>),
    Unknown,
    Malformed,
}

/// What a region covers, in pixels of the image.
#[derive(Debug, Clone, PartialEq)]
pub enum Area {
    Outline(Vec<Point>),
    Mask(Mask),
}

/// Left, top, right, bottom, in pixels and within the image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

/// The points that an ellipse is drawn with: at 64 its polygon has 99.8 % of its area.
const ELLIPSE_POINTS: u32 = 64;

/// The regions of an annotation, in its order. Results that are no regions (choices, texts, relations) are none.
pub fn regions(annotation: &Value) -> impl Iterator<Item = Region> {
    let results = annotation["result"].as_array().map_or(&[][..], Vec::as_slice);
    results.iter().filter_map(move |result| region(result, results))
}

/// The size of the annotated image, from whichever result tells it.
pub fn image_size(annotation: &Value) -> Option<Size> {
    annotation["result"].as_array()?.iter().find_map(size)
}

fn region(result: &Value, results: &[Value]) -> Option<Region> {
    let kind = result["type"].as_str()?;
    let value = &result["value"];
    let shape = match kind.strip_suffix("labels").unwrap_or(kind) {
        "rectangle" => rectangle(value),
        "ellipse" => ellipse(value),
        "polygon" => polygon(value),
        "brush" => brush(value),
        "keypoint" | "vector" | "bitmask" | "video" | "cuboid" => Some(Shape::Unknown),
        _ => return None,
    };
    let mut labels = texts(&value[kind]);
    if labels.is_empty() {
        // A control of its own says what the region is: `<Rectangle>` with `<Labels>`.
        let same = results.iter().filter(|other| other["type"] == "labels" && other["id"] == result["id"]);
        labels = same.flat_map(|other| texts(&other["value"]["labels"])).collect();
    }
    if labels.is_empty() {
        labels.push(result["from_name"].as_str().unwrap_or(kind).to_owned());
    }
    Some(Region { labels, size: size(result), shape: shape.unwrap_or(Shape::Malformed) })
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn size(result: &Value) -> Option<Size> {
    let side = |name: &str| {
        let side = result[name].as_f64()?;
        (1.0..=100_000.0).contains(&side).then_some(side as u32)
    };
    Some(Size { width: side("original_width")?, height: side("original_height")? })
}

/// Coordinates beyond this are no percent of any image.
fn percent(value: &Value) -> Option<f64> {
    value.as_f64().filter(|number| number.abs() <= 10_000.0)
}

fn rotation(value: &Value) -> Option<f64> {
    match &value["rotation"] {
        Value::Null => Some(0.0),
        rotation => rotation.as_f64().map(|degrees| degrees.rem_euclid(360.0)),
    }
}

fn rectangle(value: &Value) -> Option<Shape> {
    let sides = [percent(&value["width"])?, percent(&value["height"])?];
    let corner = [percent(&value["x"])?, percent(&value["y"])?];
    let encloses = sides.iter().all(|side| *side > 0.0);
    encloses.then_some(Shape::Rectangle { corner, sides, rotation: rotation(value)? })
}

fn ellipse(value: &Value) -> Option<Shape> {
    let radii = [percent(&value["radiusX"])?, percent(&value["radiusY"])?];
    let centre = [percent(&value["x"])?, percent(&value["y"])?];
    let encloses = radii.iter().all(|radius| *radius > 0.0);
    encloses.then_some(Shape::Ellipse { centre, radii, rotation: rotation(value)? })
}

fn polygon(value: &Value) -> Option<Shape> {
    let points: Option<Vec<Point>> = value["points"]
        .as_array()?
        .iter()
        .map(|point| Some([percent(&point[0])?, percent(&point[1])?]))
        .collect();
    points.filter(|points| points.len() >= 3).map(Shape::Polygon)
}

fn brush(value: &Value) -> Option<Shape> {
    let bytes: Option<Vec<u8>> =
        value["rle"].as_array()?.iter().map(|byte| u8::try_from(byte.as_u64()?).ok()).collect();
    bytes.map(Shape::Brush)
}

impl Region {
    /// What it covers, in pixels.
    pub fn area(&self) -> Result<Area, Reason> {
        let unknown = match &self.shape {
            Shape::Unknown => Some(Reason::UnknownShape),
            Shape::Malformed => Some(Reason::Malformed),
            _ => None,
        };
        if let Some(reason) = unknown {
            return Err(reason);
        }
        let size = self.size.ok_or(Reason::UnknownImageSize)?;
        let [wide, high] = [f64::from(size.width) / 100.0, f64::from(size.height) / 100.0];
        let pixels = |[x, y]: Point| [x * wide, y * high];
        Ok(Area::Outline(match &self.shape {
            Shape::Rectangle { corner, sides, rotation } => {
                let [width, height] = pixels(*sides);
                let offsets = [[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]];
                offsets.map(|offset| turned(pixels(*corner), offset, *rotation)).to_vec()
            }
            Shape::Ellipse { centre, radii, rotation } => {
                let [rx, ry] = pixels(*radii);
                let steps = (0..ELLIPSE_POINTS).map(|step| f64::from(step) / f64::from(ELLIPSE_POINTS));
                let offsets = steps.map(|step| (step * std::f64::consts::TAU).sin_cos());
                offsets.map(|(sin, cos)| turned(pixels(*centre), [rx * cos, ry * sin], *rotation)).collect()
            }
            Shape::Polygon(points) => points.iter().map(|point| pixels(*point)).collect(),
            Shape::Brush(rle) => return brush::decode(rle, size).map(Area::Mask).ok_or(Reason::Malformed),
            Shape::Unknown | Shape::Malformed => return Err(Reason::Malformed),
        }))
    }
}

/// `about` plus the offset, turned clockwise (y grows downwards).
fn turned(about: Point, [x, y]: Point, degrees: f64) -> Point {
    let (sin, cos) = degrees.to_radians().sin_cos();
    [about[0] + x * cos - y * sin, about[1] + x * sin + y * cos]
}

impl Area {
    /// In pixels; a polygon's is what its outline encloses.
    pub fn pixels(&self) -> f64 {
        match self {
            Self::Outline(points) => {
                let next = points.iter().cycle().skip(1);
                let twice: f64 = points.iter().zip(next).map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum();
                twice.abs() / 2.0
            }
            Self::Mask(mask) => mask.count() as f64,
        }
    }

    /// The smallest upright box around it, cut off at the image's edge; none if nothing of it lies in the image.
    pub fn bounds(&self, size: Size) -> Option<Bounds> {
        let bounds = match self {
            Self::Mask(mask) => mask.bounds()?,
            Self::Outline(points) => {
                let fold = |axis: usize, pick: fn(f64, f64) -> f64, start| {
                    points.iter().filter_map(|point| point.get(axis)).copied().fold(start, pick)
                };
                Bounds {
                    left: fold(0, f64::min, f64::INFINITY).max(0.0),
                    top: fold(1, f64::min, f64::INFINITY).max(0.0),
                    right: fold(0, f64::max, f64::NEG_INFINITY).min(f64::from(size.width)),
                    bottom: fold(1, f64::max, f64::NEG_INFINITY).min(f64::from(size.height)),
                }
            }
        };
        (bounds.left < bounds.right && bounds.top < bounds.bottom).then_some(bounds)
    }
}

/// Two digits of a pixel: finer than anybody draws, and the same on every machine.
pub fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::tests::{annotation, choice, rectangle, region},
        *,
    };

    fn area(result: Value) -> Result<Area, Reason> {
        regions(&annotation(1, vec![result])).next().unwrap().area()
    }

    fn outline(result: Value) -> Vec<Point> {
        match area(result).unwrap() {
            Area::Outline(points) => points.into_iter().map(|point| point.map(rounded)).collect(),
            mask @ Area::Mask(_) => panic!("{mask:?}"),
        }
    }

    #[test]
    fn percent_becomes_pixels() {
        let points = outline(rectangle("car", 10.0, 20.0, 30.0, 40.0, 0.0));
        assert_eq!(points, [[20.0, 20.0], [80.0, 20.0], [80.0, 60.0], [20.0, 60.0]]);
    }

    /// A quarter turn clockwise about the top left corner: what was to the right now lies below, in pixels.
    #[test]
    fn a_rectangle_turns_about_its_corner() {
        let points = outline(rectangle("car", 50.0, 20.0, 20.0, 10.0, 90.0));
        assert_eq!(points, [[100.0, 20.0], [100.0, 60.0], [90.0, 60.0], [90.0, 20.0]]);
    }

    #[test]
    fn an_ellipse_keeps_its_area() {
        let value = json!({"x": 50, "y": 50, "radiusX": 10, "radiusY": 30, "rotation": 30});
        let ellipse = area(region("e", "ellipselabels", &["car"], value)).unwrap();
        let exact = std::f64::consts::PI * 20.0 * 30.0;
        assert!((ellipse.pixels() / exact - 1.0).abs() < 0.002, "{}", ellipse.pixels());
    }

    #[test]
    fn bounds_end_at_the_images_edge() {
        let size = Size { width: 200, height: 100 };
        let over = area(rectangle("car", 90.0, -10.0, 20.0, 20.0, 0.0)).unwrap().bounds(size);
        assert_eq!(over, Some(Bounds { left: 180.0, top: 0.0, right: 200.0, bottom: 10.0 }));
        assert_eq!(area(rectangle("car", 120.0, 0.0, 5.0, 5.0, 0.0)).unwrap().bounds(size), None);
    }

    #[test]
    fn a_label_may_come_from_a_control_of_its_own() {
        let labels = |results: Vec<Value>| regions(&annotation(1, results)).next().unwrap().labels;
        let shape = json!({"id": "r", "type": "rectangle", "from_name": "box", "value": {}});
        let label =
            json!({"id": "r", "type": "labels", "from_name": "kind", "value": {"labels": ["car", "red"]}});
        let other = json!({"id": "s", "type": "labels", "from_name": "kind", "value": {"labels": ["dog"]}});
        assert_eq!(labels(vec![shape.clone(), other.clone(), label]), ["car", "red"]);
        assert_eq!(labels(vec![shape, other]), ["box"]);
    }

    #[test]
    fn what_has_no_place_says_why() {
        let mut unsized_box = rectangle("car", 1.0, 1.0, 1.0, 1.0, 0.0);
        unsized_box["original_width"] = Value::Null;
        assert_eq!(area(unsized_box), Err(Reason::UnknownImageSize));
        let point = region("p", "keypointlabels", &["nose"], json!({"x": 1, "y": 1}));
        assert_eq!(area(point), Err(Reason::UnknownShape));
        assert_eq!(area(rectangle("car", 1.0, 1.0, 0.0, 1.0, 0.0)), Err(Reason::Malformed));
        assert!(regions(&annotation(1, vec![choice("sun")])).next().is_none());
    }
}
