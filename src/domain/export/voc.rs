//! Pascal VOC (The PASCAL Visual Object Classes Challenge 2012, development kit): an XML file an image, with boxes in
//! whole pixels, of which the first is 1.
//!
//! Every region becomes its upright box, as in YOLO. `size` is there where the annotation tells the image's.

use std::io;

use quick_xml::escape::escape;

use super::{
    Encode, LeftOut, Reason, Task,
    archive::{self, Names},
    region::{self, Region},
};

#[derive(Debug, Default)]
pub struct Voc {
    names: Names,
    left_out: LeftOut,
}

impl Encode for Voc {
    fn task(&mut self, _: u8, task: &Task, out: &mut Vec<u8>) -> io::Result<()> {
        let Some(standing) = task.standing() else { return Ok(()) };
        let mut objects = String::new();
        for region in region::regions(standing) {
            match boxes(&region) {
                Ok(boxes) => objects.push_str(&boxes),
                Err(reason) => *self.left_out.entry(reason).or_default() += 1,
            }
        }
        let size = region::image_size(standing).map(|size| {
            let (width, height) = (size.width, size.height);
            format!("  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n")
        });
        let (folder, file) = task.image_key.rsplit_once('/').unwrap_or(("", &task.image_key));
        let xml = format!(
            "<annotation>\n  <folder>{}</folder>\n  <filename>{}</filename>\n  <path>{}</path>\n\
             {}  <segmented>0</segmented>\n{objects}</annotation>\n",
            text(folder),
            text(file),
            text(&task.image()),
            size.unwrap_or_default(),
        );
        archive::append(out, &self.names.of("Annotations", &task.image_key, "xml"), xml.as_bytes())
    }

    fn end(&mut self, _: u8, out: &mut Vec<u8>) -> io::Result<()> {
        archive::finish(out);
        Ok(())
    }

    fn left_out(&self) -> LeftOut {
        self.left_out.clone()
    }
}

fn boxes(region: &Region) -> Result<String, Reason> {
    let area = region.area()?;
    let size = region.size.ok_or(Reason::UnknownImageSize)?;
    let bounds = area.bounds(size).ok_or(Reason::Malformed)?;
    // A pixel that the box touches is in it, so none vanishes.
    let (left, top) = (bounds.left.floor() as u32 + 1, bounds.top.floor() as u32 + 1);
    let (right, bottom) = (bounds.right.ceil() as u32, bounds.bottom.ceil() as u32);
    let object = |label: &String| {
        format!(
            "  <object>\n    <name>{}</name>\n    <pose>Unspecified</pose>\n    <truncated>0</truncated>\n    \
             <difficult>0</difficult>\n    <bndbox><xmin>{left}</xmin><ymin>{top}</ymin><xmax>{right}</xmax>\
             <ymax>{bottom}</ymax></bndbox>\n  </object>\n",
            text(label)
        )
    };
    Ok(region.labels.iter().map(object).collect())
}

/// Escaped, and without the control characters that no XML can hold.
fn text(text: &str) -> String {
    let plain: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\t' | '\n' | '\r')).collect();
    escape(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;
    use crate::domain::ExportFormat;

    #[test]
    fn a_file_an_image_that_an_xml_reader_reads() {
        let results = vec![rectangle("<car> & \"co\" \u{1}漢", 10.0, 20.0, 30.0, 40.25, 0.0), choice("sun")];
        let files = files(ExportFormat::Voc, &[task(0, vec![annotation(1, results)]), task(1, vec![])]);
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].0, "Annotations/images/000.xml");
        let document = roxmltree::Document::parse(&files[0].1).unwrap();
        let all = |name: &str| -> Vec<String> {
            let found = document.descendants().filter(|node| node.has_tag_name(name));
            found.map(|node| node.text().unwrap_or_default().to_owned()).collect()
        };
        assert_eq!(all("name"), ["<car> & \"co\" 漢"]);
        assert_eq!((all("folder"), all("filename")), (vec!["images".into()], vec!["000.jpg".into()]));
        assert_eq!((all("width"), all("height")), (vec!["200".into()], vec!["100".into()]));
        let corners = ["xmin", "ymin", "xmax", "ymax"].map(|name| all(name).concat());
        assert_eq!(corners, ["21", "21", "80", "61"]);
    }
}
