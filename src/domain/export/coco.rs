//! COCO's format for detection and segmentation (cocodataset.org, "Data format").
//!
//! Rectangles, ellipses and polygons become polygons, brushes an uncompressed run-length encoding. Tasks are gone
//! through twice, for `images` and for `annotations`. An image's id is its place in the batch, a category's its place
//! in the labeling config, so both stay when a batch is exported again.

use std::io;

use serde_json::{Value, json};

use super::{
    Encode, Interface, LeftOut, Reason, Task,
    interface::Classes,
    region::{self, Area, Point, Region, rounded},
};

#[derive(Debug)]
pub struct Coco {
    classes: Classes,
    annotations: u64,
    has_entry: bool,
    left_out: LeftOut,
}

const IMAGES: u8 = 0;

impl Coco {
    pub fn new(interface: &Interface) -> Self {
        Self { classes: Classes::new(interface), annotations: 0, has_entry: false, left_out: LeftOut::new() }
    }

    fn entry(&mut self, entry: &Value, out: &mut Vec<u8>) -> io::Result<()> {
        out.extend_from_slice(if self.has_entry { b",\n" } else { b"\n" });
        self.has_entry = true;
        Ok(serde_json::to_writer(out, entry)?)
    }

    fn annotations(
        &mut self,
        task: &Task,
        region: &Region,
        out: &mut Vec<u8>,
    ) -> io::Result<Result<(), Reason>> {
        let shape = match shape(region) {
            Ok(shape) => shape,
            Err(reason) => return Ok(Err(reason)),
        };
        for label in &region.labels {
            self.annotations += 1;
            let mut annotation = shape.clone();
            annotation["id"] = json!(self.annotations);
            annotation["image_id"] = json!(task.position + 1);
            annotation["category_id"] = json!(self.classes.number(label) + 1);
            self.entry(&annotation, out)?;
        }
        Ok(Ok(()))
    }
}

/// What is the same for every label of a region.
fn shape(region: &Region) -> Result<Value, Reason> {
    let area = region.area()?;
    let size = region.size.ok_or(Reason::UnknownImageSize)?;
    let bounds = area.bounds(size).ok_or(Reason::Malformed)?;
    let (left, top) = (rounded(bounds.left), rounded(bounds.top));
    let segmentation = match &area {
        Area::Outline(points) => json!([flat(points)]),
        Area::Mask(mask) => json!({"size": [size.height, size.width], "counts": mask.coco_counts()}),
    };
    Ok(json!({
        "segmentation": segmentation,
        "bbox": [left, top, rounded(bounds.right - bounds.left), rounded(bounds.bottom - bounds.top)],
        "area": rounded(area.pixels()),
        "iscrowd": 0,
    }))
}

fn flat(points: &[Point]) -> Vec<f64> {
    points.iter().flatten().copied().map(rounded).collect()
}

impl Encode for Coco {
    fn passes(&self) -> u8 {
        2
    }

    fn begin(&mut self, pass: u8, out: &mut Vec<u8>) -> io::Result<()> {
        self.has_entry = false;
        out.extend_from_slice(if pass == IMAGES { b"{\"images\": [" } else { b"\n],\n\"annotations\": [" });
        Ok(())
    }

    fn task(&mut self, pass: u8, task: &Task, out: &mut Vec<u8>) -> io::Result<()> {
        let Some(standing) = task.standing() else { return Ok(()) };
        if pass == IMAGES {
            let mut image =
                json!({"id": task.position + 1, "file_name": task.image_key, "coco_url": task.image()});
            if let Some(size) = region::image_size(standing) {
                image["width"] = json!(size.width);
                image["height"] = json!(size.height);
            }
            return self.entry(&image, out);
        }
        for region in region::regions(standing) {
            if let Err(reason) = self.annotations(task, &region, out)? {
                *self.left_out.entry(reason).or_default() += 1;
            }
        }
        Ok(())
    }

    fn end(&mut self, pass: u8, out: &mut Vec<u8>) -> io::Result<()> {
        if pass == IMAGES {
            return Ok(());
        }
        let categories: Vec<Value> = (1..)
            .zip(self.classes.names())
            .map(|(id, name): (u64, _)| json!({"id": id, "name": name, "supercategory": ""}))
            .collect();
        out.extend_from_slice(b"\n],\n\"categories\": ");
        serde_json::to_writer(&mut *out, &categories)?;
        out.extend_from_slice(b"}\n");
        Ok(())
    }

    fn left_out(&self) -> LeftOut {
        self.left_out.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::brush, super::tests::*, *};
    use crate::domain::ExportFormat;

    fn coco(tasks: &[Task]) -> Value {
        serde_json::from_str(&text(ExportFormat::Coco, tasks)).unwrap()
    }

    #[test]
    fn shapes_are_in_pixels_with_the_configs_categories() {
        let triangle = json!({"points": [[0, 0], [50, 0], [0, 50]]});
        let painted: Vec<bool> = (0..20_000).map(|pixel| pixel < 400).collect();
        let mask = json!({"format": "rle", "rle": brush::tests::encode(200, &painted)});
        let results = vec![
            rectangle("person, tall", 10.0, 20.0, 30.0, 40.0, 0.0),
            choice("sun"),
            region("area", "polygonlabels", &["road"], triangle),
            region("brush", "brushlabels", &["himmel"], mask),
            rectangle("new", 50.0, 20.0, 20.0, 10.0, 90.0),
        ];
        let coco = coco(&[task(0, vec![annotation(1, results)]), task(5, vec![annotation(1, vec![])])]);
        let size = json!({"id": 1, "file_name": "images/000.jpg", "coco_url": "s3://fleet/images/000.jpg",
                          "width": 200, "height": 100});
        assert_eq!(coco["images"][0], size);
        assert_eq!(
            coco["images"][1],
            json!({"id": 6, "file_name": "images/005.jpg", "coco_url": "s3://fleet/images/005.jpg"})
        );
        let names: Vec<_> = coco["categories"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
        assert_eq!(json!(names), json!(["car", "person, tall", "road", "himmel", "new"]));
        let expected = [
            (
                2,
                json!([[20.0, 20.0, 80.0, 20.0, 80.0, 60.0, 20.0, 60.0]]),
                json!([20.0, 20.0, 60.0, 40.0]),
                2400.0,
            ),
            (3, json!([[0.0, 0.0, 100.0, 0.0, 0.0, 50.0]]), json!([0.0, 0.0, 100.0, 50.0]), 2500.0),
            (4, Value::Null, json!([0.0, 0.0, 200.0, 2.0]), 400.0),
            (
                5,
                json!([[100.0, 20.0, 100.0, 60.0, 90.0, 60.0, 90.0, 20.0]]),
                json!([90.0, 20.0, 10.0, 40.0]),
                400.0,
            ),
        ];
        let annotations = coco["annotations"].as_array().unwrap();
        assert_eq!(annotations.len(), expected.len());
        for (id, (annotation, (category, segmentation, bbox, area))) in
            (1..).zip(annotations.iter().zip(expected))
        {
            assert_eq!((&annotation["id"], &annotation["image_id"]), (&json!(id), &json!(1)));
            assert_eq!(annotation["category_id"], category);
            assert!(segmentation.is_null() || annotation["segmentation"] == segmentation, "{annotation}");
            assert_eq!((&annotation["bbox"], &annotation["area"]), (&bbox, &json!(area)));
        }
        assert_eq!(annotations[2]["segmentation"]["size"], json!([100, 200]));
        assert_eq!(annotations[2]["segmentation"]["counts"][1], 2);
    }

    #[test]
    fn a_region_of_two_labels_is_two_annotations_and_skips_are_none() {
        let both = region(
            "box",
            "rectanglelabels",
            &["car", "road"],
            json!({"x": 0, "y": 0, "width": 1, "height": 1}),
        );
        let mut skip = annotation(1, vec![both.clone()]);
        skip["was_cancelled"] = json!(true);
        let coco = coco(&[task(0, vec![annotation(1, vec![both])]), task(1, vec![skip]), task(2, vec![])]);
        assert_eq!(coco["annotations"].as_array().unwrap().len(), 2);
        assert_eq!(coco["images"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let mut without_size = rectangle("car", 1.0, 1.0, 1.0, 1.0, 0.0);
        without_size["original_height"] = Value::Null;
        let point = region("p", "keypointlabels", &["nose"], json!({"x": 1, "y": 1}));
        let (_, left_out) =
            encode(ExportFormat::Coco, &[task(0, vec![annotation(1, vec![without_size, point])])]);
        assert_eq!(left_out, LeftOut::from([(Reason::UnknownImageSize, 1), (Reason::UnknownShape, 1)]));
    }
}
