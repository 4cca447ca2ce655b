use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Fields;
use crate::domain::check::{Checks, Issue};

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LabelingConfigInput)]
pub struct LabelingConfigFields {
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
    #[schema(max_length = 500)]
    pub description: Option<String>,
    /// Label Studio's XML: well-formed, without a DTD, `<View>` as its root, at least one object tag.
    #[schema(max_length = 50000, example = "<View><Image name=\"image\" value=\"$image\"/></View>")]
    pub config_xml: String,
}

const MAX_CHARS: usize = 50_000;

/// Deeper than any interface; a reader that recurses is safe below it.
const MAX_DEPTH: usize = 64;

/// The tags of Label Studio 1.23 that show a piece of data (its documentation, "Object tags").
const OBJECT_TAGS: &[&str] = &[
    "Audio",
    "AudioPlus",
    "BitMask",
    "Chat",
    "HyperText",
    "HyperTextLabels",
    "Image",
    "List",
    "MultiChannel",
    "Paragraphs",
    "Pdf",
    "PDF",
    "Ranker",
    "ReactCode",
    "Table",
    "Text",
    "TimeSeries",
    "Video",
];

impl Fields for LabelingConfigFields {
    fn check(&self) -> Result<(), Vec<Issue>> {
        let mut checks = Checks::default();
        checks.text("name", &self.name, 1..=100);
        checks.optional_text("description", self.description.as_deref(), 0..=500);
        if let Err(message) = check_xml(&self.config_xml) {
            checks.require("configXml", false, message);
        }
        checks.done()
    }
}

fn check_xml(xml: &str) -> Result<(), String> {
    if xml.trim().is_empty() || xml.chars().count() > MAX_CHARS {
        return Err(format!("1 to {MAX_CHARS} characters"));
    }
    let document = roxmltree::Document::parse(xml).map_err(|error| match error {
        roxmltree::Error::DtdDetected => "a document type declaration is not allowed".to_owned(),
        // Says line and column itself.
        error => format!("invalid XML: {error}"),
    })?;
    let root = document.root_element();
    if !root.has_tag_name("View") {
        let line = document.text_pos_at(root.range().start).row;
        return Err(format!("line {line}: the root must be <View>, not <{}>", root.tag_name().name()));
    }
    if document.descendants().any(|node| node.ancestors().nth(MAX_DEPTH + 1).is_some()) {
        return Err(format!("tags are nested deeper than {MAX_DEPTH} levels"));
    }
    if !root.descendants().any(|node| OBJECT_TAGS.contains(&node.tag_name().name())) {
        return Err("there is no object tag (Image, Text, Audio, Video, …) in <View>".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn real_configs_pass() {
        for xml in [
            r#"<View><Image name="image" value="$image"/></View>"#,
            r#"<?xml version="1.0"?><!-- ours --><View><View><Text name="t" value="$t"/></View></View>"#,
        ] {
            assert_eq!(check_xml(xml), Ok(()), "{xml}");
        }
    }

    #[test]
    fn the_reason_and_the_line_are_told() {
        for (xml, part) in [
            ("", "1 to 50000 characters"),
            ("<View>\n<Image>\n</View>", "3:"),
            ("no xml", "invalid XML"),
            ("\n<Image name='i' value='$i'/>", "line 2: the root must be <View>, not <Image>"),
            ("<View><Header value='hi'/></View>", "no object tag"),
            ("<!DOCTYPE v [<!ENTITY x 'y'>]><View><Image/></View>", "document type declaration"),
            ("<View><Image a='1' a='2'/></View>", "invalid XML"),
        ] {
            let message = check_xml(xml).unwrap_err();
            assert!(message.contains(part), "{xml}: {message}");
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        let depth = 5_000;
        let xml = format!("<View>{}<Image/>{}</View>", "<a>".repeat(depth), "</a>".repeat(depth));
        assert!(check_xml(&xml).unwrap_err().contains("nested deeper"));
    }

    proptest! {
        #[test]
        fn no_text_panics(xml in "[<>/a-zA-Z&;!\\[\\]\"'= \n-]{0,200}") {
            let _ = check_xml(&xml);
        }
    }
}
