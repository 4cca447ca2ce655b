//! Reviews: a workflow whose labeling config has a `Choices` named [`DECISION`] judges what was made before it.
//!
//! A reviewer accepts by the choice `accept`, `accepted`, `approve`, `approved`, `pass`, `ok` or `yes`, and rejects
//! by `reject`, `rejected`, `decline`, `declined`, `fail` or `no`, in any case. Chosen beside each other, rejecting
//! counts. Any other choice decides nothing. A `TextArea` named [`REASON`] takes the reason.

use serde_json::Value;

use super::ReviewDecision;

pub const DECISION: &str = "review_decision";
pub const REASON: &str = "rejection_reason";

const ACCEPT: &[&str] = &["accept", "accepted", "approve", "approved", "pass", "ok", "yes"];
const REJECT: &[&str] = &["reject", "rejected", "decline", "declined", "fail", "no"];

/// Longer reasons are cut to as many characters.
const REASON_CHARS: usize = 2000;

/// What a reviewer said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    pub decision: ReviewDecision,
    pub reason: Option<String>,
}

/// The decision in an annotation's result, if there is one.
pub fn read(result: &Value) -> Option<Review> {
    let choices = texts(result, DECISION, "choices");
    let chosen = |words: &[&str]| {
        choices.iter().any(|choice| words.iter().any(|word| choice.trim().eq_ignore_ascii_case(word)))
    };
    let decision = match (chosen(REJECT), chosen(ACCEPT)) {
        (true, _) => ReviewDecision::Reject,
        (false, true) => ReviewDecision::Accept,
        (false, false) => return None,
    };
    let reason: String = texts(result, REASON, "text").join("\n").trim().chars().take(REASON_CHARS).collect();
    Some(Review { decision, reason: (!reason.is_empty()).then_some(reason) })
}

/// Whether an annotation speaks of a decision at all.
pub fn is_told_by(result: &Value) -> bool {
    regions(result).iter().any(|region| region["from_name"] == DECISION)
}

/// Whether work under this labeling config is a review.
pub fn is_review(config_xml: &str) -> bool {
    roxmltree::Document::parse(config_xml).is_ok_and(|document| {
        document
            .descendants()
            .any(|node| node.has_tag_name("Choices") && node.attribute("name") == Some(DECISION))
    })
}

/// Whether tasks under this labeling config are to carry the reason why they come back, as `$rejection_reason`.
pub fn shows_reason(config_xml: &str) -> bool {
    roxmltree::Document::parse(config_xml).is_ok_and(|document| {
        let mut attributes = document.descendants().flat_map(|node| node.attributes());
        attributes.any(|attribute| attribute.value().strip_prefix('$') == Some(REASON))
    })
}

/// The regions of an earlier result that fit a labeling config, to be shown as a prediction: their control is there
/// under the same name and of the same type, it labels the same object, and it knows their labels. Relations, and
/// what an earlier review decided, are left out.
pub fn prediction(result: &Value, config_xml: &str) -> Vec<Value> {
    let Ok(document) = roxmltree::Document::parse(config_xml) else { return Vec::new() };
    let controls: Vec<_> = document.descendants().filter(|node| node.attribute("toName").is_some()).collect();
    let fits = |region: &&Value| {
        let text = |field: &str| region.get(field).and_then(Value::as_str);
        let (Some(from), Some(to), Some(kind)) = (text("from_name"), text("to_name"), text("type")) else {
            return false;
        };
        let control = controls.iter().find(|node| node.attribute("name") == Some(from));
        let Some(control) = control.filter(|_| ![DECISION, REASON].contains(&from)) else { return false };
        let names = |value: &str| {
            control
                .descendants()
                .any(|node| node.attribute("value") == Some(value) || node.attribute("alias") == Some(value))
        };
        let labels = region["value"].get(kind).and_then(Value::as_array);
        let has_own = control.children().any(|node| node.is_element());
        control.tag_name().name().eq_ignore_ascii_case(kind)
            && control.attribute("toName").is_some_and(|objects| objects.split(',').any(|name| name == to))
            && labels.is_none_or(|labels| !has_own || labels.iter().filter_map(Value::as_str).all(names))
    };
    regions(result).iter().filter(fits).cloned().collect()
}

fn regions(result: &Value) -> &[Value] {
    result.as_array().map_or(&[], Vec::as_slice)
}

/// The texts that a control holds under a key; a single one may stand without its list.
fn texts<'a>(result: &'a Value, control: &str, key: &str) -> Vec<&'a str> {
    let of_control = regions(result).iter().filter(|region| region["from_name"] == control);
    let values = of_control.filter_map(|region| region["value"].get(key));
    values
        .flat_map(|value| value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice))
        .filter_map(Value::as_str)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn decided(choices: Value, reason: Value) -> Option<Review> {
        read(&json!([
            {"from_name": DECISION, "to_name": "image", "type": "choices", "value": {"choices": choices}},
            {"from_name": REASON, "to_name": "image", "type": "textarea", "value": {"text": reason}},
        ]))
    }

    #[test]
    fn decisions_are_read_in_their_spellings() {
        for (words, decision) in [(ACCEPT, ReviewDecision::Accept), (REJECT, ReviewDecision::Reject)] {
            for word in words {
                for spelled in [(*word).to_owned(), word.to_uppercase(), format!(" {word} ")] {
                    assert_eq!(decided(json!([spelled]), json!([])).unwrap().decision, decision);
                }
            }
        }
        assert_eq!(decided(json!(["accept", "reject"]), json!([])).unwrap().decision, ReviewDecision::Reject);
        assert_eq!(decided(json!("Reject"), json!([])).unwrap().decision, ReviewDecision::Reject);
        assert_eq!(decided(json!(["unsure"]), json!([])), None);
        assert_eq!(decided(json!([]), json!(["why"])), None);
        assert_eq!(read(&json!([])), None);
    }

    #[test]
    fn a_reason_is_the_text_of_its_control() {
        let reason = |text: Value| decided(json!(["reject"]), text).unwrap().reason;
        assert_eq!(reason(json!(["too loose", "and late"])).as_deref(), Some("too loose\nand late"));
        assert_eq!(reason(json!(" too loose ")).as_deref(), Some("too loose"));
        assert_eq!(reason(json!(["  "])), None);
        assert_eq!(reason(json!("ä".repeat(3000))).map(|text| text.chars().count()), Some(REASON_CHARS));
    }

    #[test]
    fn a_review_is_told_by_its_config() {
        let choices = r#"<View><Image name="i" value="$i"/><Choices name="review_decision" toName="i"><Choice value="accept"/></Choices></View>"#;
        assert!(is_review(choices));
        assert!(!is_review(&choices.replace("review_decision", "label")));
        assert!(!is_review("<View"));
        assert!(shows_reason(r#"<View><Header value="$rejection_reason"/></View>"#));
        assert!(!shows_reason(choices));
    }

    #[test]
    fn only_what_fits_is_shown() {
        let config = r#"<View><Image name="image" value="$image"/>
            <RectangleLabels name="box" toName="image"><Label value="car"/><Label value="bus" alias="b"/></RectangleLabels>
            <Choices name="kind" toName="image"><View><Choice value="day"/></View></Choices>
            <TextArea name="note" toName="image"/>
            <Choices name="review_decision" toName="image"><Choice value="accept"/></Choices></View>"#;
        let region = |from: &str, to: &str, kind: &str, value: Value| json!({"id": from, "from_name": from, "to_name": to, "type": kind, "value": value});
        let kept = [
            region("box", "image", "rectanglelabels", json!({"x": 1, "rectanglelabels": ["car"]})),
            region("box", "image", "rectanglelabels", json!({"x": 1, "rectanglelabels": ["b"]})),
            region("kind", "image", "choices", json!({"choices": ["day"]})),
            region("note", "image", "textarea", json!({"text": ["anything"]})),
        ];
        let left_out = [
            region("box", "image", "rectanglelabels", json!({"rectanglelabels": ["tram"]})),
            region("box", "other", "rectanglelabels", json!({"rectanglelabels": ["car"]})),
            region("box", "image", "polygonlabels", json!({"polygonlabels": ["car"]})),
            region("gone", "image", "choices", json!({"choices": ["day"]})),
            region("review_decision", "image", "choices", json!({"choices": ["accept"]})),
            json!({"type": "relation", "from_id": "a", "to_id": "b"}),
            json!(3),
        ];
        let all: Vec<Value> = kept.iter().chain(&left_out).cloned().collect();
        assert_eq!(prediction(&json!(all), config), kept);
        assert_eq!(prediction(&json!(all), "<View"), Vec::<Value>::new());
        assert_eq!(prediction(&Value::Null, config), Vec::<Value>::new());
    }

    proptest! {
        #[test]
        fn nothing_panics(choice in ".{0,20}", key in "[a-z_]{0,8}") {
            let result = json!([{"from_name": DECISION, "value": {key: [choice]}}, null, "x", {"value": 1}]);
            let _ = read(&result);
            let _ = prediction(&result, "<View><Choices name='review_decision' toName='i'/></View>");
        }
    }
}
