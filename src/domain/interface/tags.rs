//! The tags of Label Studio 1.23 that matter to us, as its documentation names them
//! (<https://labelstud.io/tags/>, "Object tags" and "Control tags"), and what a region of each control holds.

/// Tags that show a piece of a task's data. `AudioPlus` is the former name of `Audio`.
const OBJECT_TAGS: &[&str] = &[
    "Audio",
    "AudioPlus",
    "Chat",
    "HyperText",
    "Image",
    "List",
    "Paragraphs",
    "PDF",
    "Pdf",
    "ReactCode",
    "Table",
    "Text",
    "TimeSeries",
    "Video",
];

pub fn is_object(tag: &str) -> bool {
    OBJECT_TAGS.contains(&tag)
}

/// What the regions of a control say, and so how they are checked and compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    Choices,
    Taxonomy,
    Rating,
    Number,
    DateTime,
    TextArea,
    Pairwise,
    Ranker,
    Rectangle,
    Ellipse,
    Polygon,
    KeyPoint,
    Brush,
    /// A stretch of a text, an audio track or a time series: `start`, `end`.
    Span,
    /// Stretches of a video's timeline: `ranges`.
    Timeline,
    /// Anything else: compared as a whole.
    Other,
}

/// The type that a control's regions have (`type`): the tag in lower case.
const CONTROL_TAGS: &[(&str, Family)] = &[
    ("bitmask", Family::Other),
    ("bitmasklabels", Family::Other),
    ("brush", Family::Brush),
    ("brushlabels", Family::Brush),
    ("chatmessage", Family::Other),
    ("choices", Family::Choices),
    ("datetime", Family::DateTime),
    ("ellipse", Family::Ellipse),
    ("ellipselabels", Family::Ellipse),
    ("hypertextlabels", Family::Span),
    ("keypoint", Family::KeyPoint),
    ("keypointlabels", Family::KeyPoint),
    ("labels", Family::Span),
    ("magicwand", Family::Brush),
    ("number", Family::Number),
    ("ocrlabels", Family::Rectangle),
    ("pairwise", Family::Pairwise),
    ("paragraphlabels", Family::Span),
    ("polygon", Family::Polygon),
    ("polygonlabels", Family::Polygon),
    ("ranker", Family::Ranker),
    ("rating", Family::Rating),
    ("reactcode", Family::Other),
    ("rectangle", Family::Rectangle),
    ("rectanglelabels", Family::Rectangle),
    ("taxonomy", Family::Taxonomy),
    ("textarea", Family::TextArea),
    ("timelinelabels", Family::Timeline),
    ("timeserieslabels", Family::Span),
    ("vector", Family::Other),
    ("vectorlabels", Family::Other),
    ("videorectangle", Family::Other),
    ("videovector", Family::Other),
    ("videovectorlabels", Family::Other),
];

/// Whether a tag is a control of Label Studio's, which needs a `name` and a `toName`. `Relations` needs neither.
pub fn is_control(tag: &str) -> bool {
    let kind = tag.to_ascii_lowercase();
    CONTROL_TAGS.iter().any(|(known, _)| *known == kind)
}

/// The family of a region's `type`.
pub fn family(kind: &str) -> Family {
    let kind = kind.to_ascii_lowercase();
    let found = CONTROL_TAGS.iter().find(|(known, _)| *known == kind);
    found.map_or(Family::Other, |(_, family)| *family)
}

/// Whether a region of this type may come from this control.
pub fn gives(tag: &str, kind: &str) -> bool {
    let tag = tag.to_ascii_lowercase();
    tag == kind
        // A plain `<Labels>` beside a geometry control names what that control drew.
        || (tag == "labels" && kind.ends_with("labels") && family(kind) != Family::Other)
        || (tag == "magicwand" && family(kind) == Family::Brush)
}

/// Whether this family's regions carry labels under a key that is the region's type (`rectanglelabels`).
pub fn carries_labels(kind: &str) -> bool {
    kind.ends_with("labels")
}
