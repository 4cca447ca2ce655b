//! Rectangles, ellipses, polygons and key points, in pixels.
//!
//! Label Studio gives coordinates in percent of the image, and turns by degrees clockwise around a rectangle's
//! upper left corner or an ellipse's centre. An image is seldom square, so a turn is right in pixels only.

use geo::{Area, BooleanOps, BoundingRect, Coord, Intersects, LineString, MultiPolygon, Polygon};
use serde_json::Value;

/// Of COCO's key points, about that of its ankles and wrists: how far people are apart, by size of the object.
const SIGMA: f64 = 0.09;
/// An ellipse is compared as a polygon of so many corners.
const ELLIPSE_CORNERS: u32 = 64;
/// In percent; regions may stand out of the image, not by so much.
const MAX_COORDINATE: f64 = 10_000.0;
/// In pixels.
const MAX_SIDE: f64 = 1_000_000.0;

#[derive(Debug)]
pub(super) enum Shape {
    Point {
        at: Coord,
        image_area: f64,
    },
    /// What a ring of straight lines encloses; where it crosses itself, by the even-odd rule.
    Outline {
        ring: Polygon,
        area: f64,
    },
}

impl Shape {
    /// Told by its fields, as a label's region repeats the geometry of any control. None when it is none of them,
    /// or its numbers are beyond all measure.
    pub fn read(region: &Value, value: &Value) -> Option<Self> {
        let side = |field: &str| {
            let side = region.get(field).and_then(Value::as_f64);
            side.filter(|side| (1.0..=MAX_SIDE).contains(side)).unwrap_or(100.0)
        };
        let image = Image { width: side("original_width"), height: side("original_height") };
        let number =
            |field: &str| value.get(field).and_then(Value::as_f64).filter(|number| is_measurable(*number));
        let turn = number("rotation").unwrap_or(0.0).to_radians();
        if let Some(points) = value.get("points").and_then(Value::as_array) {
            let points = points.iter().map(|point| {
                let (x, y) = (point.get(0)?.as_f64()?, point.get(1)?.as_f64()?);
                (is_measurable(x) && is_measurable(y)).then(|| image.pixel(x, y))
            });
            return points.collect::<Option<Vec<_>>>().map(outline);
        }
        let at = image.pixel(number("x")?, number("y")?);
        if let (Some(width), Some(height)) = (number("width"), number("height")) {
            // A key point has a width, of its mark, and no height.
            let (width, height) = (width / 100.0 * image.width, height / 100.0 * image.height);
            let corners = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)];
            return Some(outline(corners.map(|corner| turned(at, corner, turn)).to_vec()));
        }
        if let (Some(x), Some(y)) = (number("radiusX"), number("radiusY")) {
            let (x, y) = (x / 100.0 * image.width, y / 100.0 * image.height);
            let corner = |n: u32| {
                let angle = std::f64::consts::TAU * f64::from(n) / f64::from(ELLIPSE_CORNERS);
                turned(at, (x * angle.cos(), y * angle.sin()), turn)
            };
            return Some(outline((0..ELLIPSE_CORNERS).map(corner).collect()));
        }
        Some(Self::Point { at, image_area: image.width * image.height })
    }

    /// Where a ring crosses itself its area is not the formula's: it is measured as an overlap is.
    pub fn measure(&mut self) {
        if let Self::Outline { ring, area } = self {
            *area = ring.union(&MultiPolygon::new(Vec::new())).unsigned_area();
        }
    }

    /// The steps of counting [`Self::crossings`]; with itself too.
    pub fn cost(&self, other: &Self) -> u64 {
        let lines = |shape: &Self| match shape {
            Self::Point { .. } => 1,
            Self::Outline { ring, .. } => ring.exterior().0.len() as u64,
        };
        if self.may_touch(other) { lines(self) * lines(other) } else { 1 }
    }

    /// How often lines of the two meet: what intersecting them costs grows with it, and a ring that crosses itself
    /// everywhere would take minutes.
    pub fn crossings(&self, other: &Self) -> u64 {
        let (Self::Outline { ring: a, .. }, Self::Outline { ring: b, .. }) = (self, other) else { return 0 };
        if !self.may_touch(other) {
            return 0;
        }
        let meetings =
            a.exterior().lines().flat_map(|line| b.exterior().lines().map(move |other| (line, other)));
        meetings.filter(|(line, other)| line.intersects(other)).count() as u64
    }

    fn may_touch(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Outline { ring: a, .. }, Self::Outline { ring: b, .. }) => {
                matches!((a.bounding_rect(), b.bounding_rect()), (Some(a), Some(b)) if a.intersects(&b))
            }
            _ => false,
        }
    }

    /// Intersection over union, or OKS for two points; both shapes measured.
    pub fn similarity(&self, other: &Self) -> f64 {
        match (self, other) {
            (Self::Outline { ring: a, area }, Self::Outline { ring: b, area: other_area }) => {
                if !self.may_touch(other) {
                    return 0.0;
                }
                // In one order, so that both directions round alike.
                let is_ordered = a
                    .exterior()
                    .0
                    .iter()
                    .map(|at| (at.x, at.y))
                    .partial_cmp(b.exterior().0.iter().map(|at| (at.x, at.y)))
                    != Some(std::cmp::Ordering::Greater);
                let (first, second) = if is_ordered { (a, b) } else { (b, a) };
                let shared = first.intersection(second).unsigned_area();
                let all = area + other_area - shared;
                if all > 0.0 { shared / all } else { 0.0 }
            }
            (Self::Point { at: a, image_area }, Self::Point { at: b, image_area: other_area }) => {
                let squared = (a.x - b.x).powi(2) + (a.y - b.y).powi(2);
                (-squared / (2.0 * image_area.max(*other_area) * (2.0 * SIGMA).powi(2))).exp()
            }
            _ => 0.0,
        }
    }
}

fn is_measurable(number: f64) -> bool {
    number.is_finite() && number.abs() <= MAX_COORDINATE
}

struct Image {
    width: f64,
    height: f64,
}

impl Image {
    fn pixel(&self, x: f64, y: f64) -> Coord {
        Coord { x: x / 100.0 * self.width, y: y / 100.0 * self.height }
    }
}

/// `from` and an offset that is turned clockwise, as seen where y grows downwards.
fn turned(from: Coord, (x, y): (f64, f64), turn: f64) -> Coord {
    let (sin, cos) = turn.sin_cos();
    Coord { x: from.x + x * cos - y * sin, y: from.y + x * sin + y * cos }
}

fn outline(ring: Vec<Coord>) -> Shape {
    Shape::Outline { ring: Polygon::new(LineString::new(ring), Vec::new()), area: 0.0 }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(width: u32, height: u32, value: Value) -> Shape {
        let region = json!({"original_width": width, "original_height": height});
        let mut shape = Shape::read(&region, &value).unwrap();
        shape.measure();
        shape
    }

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-6, "{a} is not {b}");
    }

    fn rectangle(x: f64, y: f64, width: f64, height: f64, rotation: f64) -> Shape {
        read(200, 100, json!({"x": x, "y": y, "width": width, "height": height, "rotation": rotation}))
    }

    #[test]
    fn rectangles_by_hand() {
        // Half of each is shared: 1/3 of the union.
        near(
            rectangle(0.0, 0.0, 20.0, 20.0, 0.0).similarity(&rectangle(10.0, 0.0, 20.0, 20.0, 0.0)),
            1.0 / 3.0,
        );
        near(rectangle(0.0, 0.0, 20.0, 20.0, 0.0).similarity(&rectangle(5.0, 0.0, 20.0, 20.0, 0.0)), 0.6);
        near(rectangle(0.0, 0.0, 20.0, 20.0, 0.0).similarity(&rectangle(50.0, 0.0, 20.0, 20.0, 0.0)), 0.0);
        // They touch.
        near(rectangle(0.0, 0.0, 20.0, 20.0, 0.0).similarity(&rectangle(20.0, 0.0, 20.0, 20.0, 0.0)), 0.0);
    }

    /// On an image of 200 by 100 pixels, 10 % across is 20 pixels and 10 % down is 10.
    #[test]
    fn a_turn_is_made_in_pixels() {
        // 40 by 20 pixels with its corner at (100, 50), turned a quarter clockwise: it reaches left and down.
        let turned = rectangle(50.0, 50.0, 20.0, 20.0, 90.0);
        let upright = rectangle(40.0, 50.0, 10.0, 40.0, 0.0);
        near(turned.similarity(&upright), 1.0);
        // Half a turn leaves it behind and above its corner.
        near(
            rectangle(50.0, 50.0, 20.0, 20.0, 180.0).similarity(&rectangle(30.0, 30.0, 20.0, 20.0, 0.0)),
            1.0,
        );
    }

    #[test]
    fn a_square_turned_by_an_eighth() {
        // A unit square and the same turned by 45 degrees around its centre share 2 (sqrt 2 - 1) of it.
        let square = read(100, 100, json!({"points": [[40, 40], [60, 40], [60, 60], [40, 60]]}));
        let r = 10.0 * 2.0_f64.sqrt();
        let turned = read(
            100,
            100,
            json!({"points": [[50.0, 50.0 - r], [50.0 + r, 50.0], [50.0, 50.0 + r], [50.0 - r, 50.0]]}),
        );
        let shared = 2.0 * (2.0_f64.sqrt() - 1.0);
        near(square.similarity(&turned), shared / (2.0 - shared));
    }

    #[test]
    fn polygons_by_hand() {
        let square = read(100, 100, json!({"points": [[0, 0], [10, 0], [10, 10], [0, 10]]}));
        let triangle = read(100, 100, json!({"points": [[0, 0], [10, 0], [0, 10]]}));
        near(square.similarity(&triangle), 0.5);
        // The same corners from another start, the other way round.
        let again = read(100, 100, json!({"points": [[10, 10], [10, 0], [0, 0], [0, 10]]}));
        near(square.similarity(&again), 1.0);
        // A bow tie encloses two triangles, half of the square.
        let bow = read(100, 100, json!({"points": [[0, 0], [10, 10], [10, 0], [0, 10]]}));
        near(square.similarity(&bow), 0.5);
    }

    #[test]
    fn ellipses_by_hand() {
        let ellipse = |x: f64, y: f64, rotation: f64| {
            read(200, 100, json!({"x": 50, "y": 50, "radiusX": x, "radiusY": y, "rotation": rotation}))
        };
        // 20 by 20 pixels, and one of half the area within it.
        near(ellipse(10.0, 20.0, 0.0).similarity(&ellipse(10.0, 10.0, 0.0)), 0.5);
        // A quarter turn changes the axes: 20 by 40 pixels against 40 by 20.
        near(ellipse(10.0, 40.0, 90.0).similarity(&ellipse(20.0, 20.0, 0.0)), 1.0);
    }

    #[test]
    fn key_points_by_hand() {
        let point = |x: f64| read(100, 100, json!({"x": x, "y": 50, "width": 0.5}));
        // d = 9, s = 100: exp(-81 / (2 * 10000 * 0.0324)) = exp(-1/8).
        near(point(50.0).similarity(&point(59.0)), (-0.125_f64).exp());
        near(point(50.0).similarity(&point(50.0)), 1.0);
        near(point(50.0).similarity(&rectangle(50.0, 50.0, 1.0, 1.0, 0.0)), 0.0);
    }

    #[test]
    fn what_encloses_nothing_overlaps_nothing() {
        for points in
            [json!([]), json!([[1, 1]]), json!([[1, 1], [1, 1], [1, 1]]), json!([[0, 0], [5, 5], [9, 9]])]
        {
            let flat = read(100, 100, json!({ "points": points }));
            let square = read(100, 100, json!({"points": [[0, 0], [10, 0], [10, 10], [0, 10]]}));
            near(flat.similarity(&square), 0.0);
        }
        for bad in [json!({"x": 1e300, "y": 1}), json!({"points": [[1, "a"]]}), json!({"width": 1}), json!(7)]
        {
            assert!(Shape::read(&json!({}), &bad).is_none(), "{bad}");
        }
    }
}
