//! A labeling interface: what a labeling config's XML shows and asks for.
//!
//! [`check`] refuses what Label Studio refuses (its `validate_label_config`: well-formed, no DTD, unique names,
//! `toName` that names a tag, `name` and `value` where its schema wants them) and beyond it what would only fail in
//! front of the annotator: no `<View>`, nothing to show, a control that points at no object. [`read`] takes from
//! any text what can be taken.

mod fit;
mod tags;
mod walk;

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

pub use fit::misfits;
pub use tags::{Family, carries_labels, family};

pub const MAX_CHARS: usize = 50_000;
/// Deeper than any interface; a reader that recurses is safe below it.
const MAX_DEPTH: usize = 64;
/// Tags, texts and comments. 50,000 characters could hold more, and no interface does.
const MAX_NODES: u32 = 10_000;

/// What an interface shows and asks for, in the order of the XML.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Interface {
    /// The fields of a task's data that are read: `["image"]` for `value="$image"`.
    pub variables: Vec<String>,
    pub object_tags: Vec<ObjectTag>,
    pub control_tags: Vec<ControlTag>,
}

/// Shows a piece of data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ObjectTag {
    pub name: String,
    #[schema(example = "Image")]
    pub tag: String,
}

/// Asks something of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ControlTag {
    pub name: String,
    #[schema(example = "Choices")]
    pub tag: String,
    pub to_name: Vec<String>,
    /// `choice="multiple"`: more than one answer may be chosen.
    pub multiple: bool,
    /// The labels or choices to pick from, by alias where they have one. Empty where there are none, or where each
    /// task brings its own.
    pub labels: Vec<String>,
}

impl Interface {
    /// The control that a region's `from_name` names: itself, or a name of a `<Repeater>` with its index filled in.
    pub fn control(&self, from_name: &str) -> Option<&ControlTag> {
        self.control_tags.iter().find(|control| names(&control.name, from_name))
    }
}

/// Whether `name` is what `pattern` says, `{{idx}}` (of a `<Repeater>`) standing for a number.
fn names(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once("{{") else { return pattern == name };
    let Some((_, tail)) = rest.split_once("}}") else { return pattern == name };
    let Some(name) = name.strip_prefix(head) else { return false };
    let after = name.trim_start_matches(|c: char| c.is_ascii_digit());
    after.len() < name.len() && names(tail, after)
}

/// The interface of a config that Label Studio will take, or every reason why it won't, each with its line.
pub fn check(xml: &str) -> Result<Interface, Vec<String>> {
    if xml.trim().is_empty() || xml.chars().count() > MAX_CHARS {
        return Err(vec![format!("must have 1 to {MAX_CHARS} characters")]);
    }
    let document = parse(xml).map_err(|error| vec![said(&error)])?;
    if document.descendants().any(|node| node.ancestors().nth(MAX_DEPTH + 1).is_some()) {
        return Err(vec![format!("tags are nested deeper than {MAX_DEPTH} levels: flatten them")]);
    }
    let (interface, problems) = walk::walk(&document);
    if problems.is_empty() { Ok(interface) } else { Err(problems) }
}

/// What can be read of a config, checked or not.
pub fn read(xml: &str) -> Interface {
    parse(xml).map(|document| walk::walk(&document).0).unwrap_or_default()
}

/// DTDs, and with them entities, external or growing, are refused by the parser.
fn parse(xml: &str) -> Result<roxmltree::Document<'_>, roxmltree::Error> {
    let options = roxmltree::ParsingOptions { nodes_limit: MAX_NODES, ..Default::default() };
    roxmltree::Document::parse_with_options(xml, options)
}

fn said(error: &roxmltree::Error) -> String {
    use roxmltree::Error;
    match error {
        Error::DtdDetected => {
            "a document type declaration (<!DOCTYPE …>) and entities are not allowed: remove it".to_owned()
        }
        Error::NodesLimitReached => format!("more than {MAX_NODES} tags and texts: make it smaller"),
        Error::UnknownEntityReference(name, at) => {
            format!("line {}: &{name}; is not known here: write the character itself", at.row)
        }
        // Says line and column itself.
        error => format!("invalid XML: {error}"),
    }
}

/// How many times each name is used.
type Count<'a> = BTreeMap<&'a str, usize>;

#[cfg(test)]
mod tests;
