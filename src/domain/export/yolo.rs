//! YOLO's format for detection, as the Ultralytics documentation has it ("Detect datasets"): a text file an image, a line
//! an object, `class centre-x centre-y width height` as shares of the image.
//!
//! Every region becomes its upright box, cut off at the image's edge: outlines and rotations are lost, and are in COCO.
//! An image without an object has an empty file, which says that there is nothing on it.

use std::{fmt::Write, io};

use super::{
    Encode, Interface, LeftOut, Reason, Task,
    archive::{self, Names},
    interface::Classes,
    region::{self, Region},
};

#[derive(Debug)]
pub struct Yolo {
    classes: Classes,
    names: Names,
    left_out: LeftOut,
}

impl Yolo {
    pub fn new(interface: &Interface) -> Self {
        Self { classes: Classes::new(interface), names: Names::default(), left_out: LeftOut::new() }
    }

    fn lines(&mut self, region: &Region, lines: &mut String) -> Result<(), Reason> {
        let area = region.area()?;
        let size = region.size.ok_or(Reason::UnknownImageSize)?;
        let bounds = area.bounds(size).ok_or(Reason::Malformed)?;
        let (width, height) = (f64::from(size.width), f64::from(size.height));
        let (x, y) =
            ((bounds.left + bounds.right) / 2.0 / width, (bounds.top + bounds.bottom) / 2.0 / height);
        let (w, h) = ((bounds.right - bounds.left) / width, (bounds.bottom - bounds.top) / height);
        for label in &region.labels {
            let class = self.classes.number(label);
            // Writing to a String can't fail.
            let _ = writeln!(lines, "{class} {x:.6} {y:.6} {w:.6} {h:.6}");
        }
        Ok(())
    }
}

impl Encode for Yolo {
    fn task(&mut self, _: u8, task: &Task, out: &mut Vec<u8>) -> io::Result<()> {
        let Some(standing) = task.standing() else { return Ok(()) };
        let mut lines = String::new();
        for region in region::regions(standing) {
            if let Err(reason) = self.lines(&region, &mut lines) {
                *self.left_out.entry(reason).or_default() += 1;
            }
        }
        archive::append(out, &self.names.of("labels", &task.image_key, "txt"), lines.as_bytes())
    }

    /// The classes come last: annotations may hold some that the config does not.
    fn end(&mut self, _: u8, out: &mut Vec<u8>) -> io::Result<()> {
        let (mut classes, mut data) =
            (String::new(), String::from("path: .\ntrain: images\nval: images\nnames:\n"));
        for (number, name) in self.classes.names().iter().enumerate() {
            // A line a class: a name of several lines would shift all that follow.
            let _ = writeln!(classes, "{}", name.replace(['\r', '\n'], " "));
            // JSON's strings are YAML's, too.
            let _ = writeln!(data, "  {number}: {}", serde_json::Value::from(name.as_str()));
        }
        archive::append(out, "classes.txt", classes.as_bytes())?;
        archive::append(out, "data.yaml", data.as_bytes())?;
        archive::finish(out);
        Ok(())
    }

    fn left_out(&self) -> LeftOut {
        self.left_out.clone()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::*;
    use crate::domain::ExportFormat;

    #[test]
    fn boxes_are_shares_of_the_image_beside_classes_and_data() {
        let both = region(
            "box",
            "rectanglelabels",
            &["car", "new\nline"],
            json!({"x": 0, "y": 50, "width": 50, "height": 50}),
        );
        let first = vec![rectangle("person, tall", 10.0, 20.0, 30.0, 40.0, 0.0), choice("sun"), both];
        let turned = vec![rectangle("car", 50.0, 20.0, 20.0, 10.0, 90.0)];
        let mut skip = annotation(1, vec![]);
        skip["was_cancelled"] = json!(true);
        let tasks = [
            task(0, vec![annotation(1, first)]),
            task(1, vec![annotation(1, turned)]),
            task(2, vec![annotation(1, vec![])]),
            task(3, vec![skip]),
        ];
        let expected = [
            (
                "labels/images/000.txt",
                "1 0.250000 0.400000 0.300000 0.400000\n0 0.250000 0.750000 0.500000 0.500000\n\
                 4 0.250000 0.750000 0.500000 0.500000\n",
            ),
            ("labels/images/001.txt", "0 0.475000 0.400000 0.050000 0.400000\n"),
            ("labels/images/002.txt", ""),
            ("classes.txt", "car\nperson, tall\nroad\nhimmel\nnew line\n"),
            (
                "data.yaml",
                "path: .\ntrain: images\nval: images\nnames:\n  0: \"car\"\n  1: \"person, tall\"\n  2: \"road\"\n  \
                 3: \"himmel\"\n  4: \"new\\nline\"\n",
            ),
        ];
        let expected = expected.map(|(name, content)| (name.to_owned(), content.to_owned()));
        assert_eq!(files(ExportFormat::Yolo, &tasks), expected);
    }
}
