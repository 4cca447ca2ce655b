use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::interface;

const XML: &str = r#"<View><Image name="image" value="$image"/>
  <Choices name="one" toName="image"><Choice value="cat"/></Choices>
  <Choices name="many" toName="image" choice="multiple"><Choice value="cat"/></Choices></View>"#;

fn of(expected: &Value, given: &Value) -> Score {
    score(&interface::read(XML), expected.as_array().unwrap(), given.as_array().unwrap())
}

fn region(from: &str, kind: &str, value: Value) -> Value {
    json!({"id": "x", "from_name": from, "to_name": "image", "type": kind, "value": value,
           "original_width": 200, "original_height": 100})
}

fn value(kind: &str, expected: Value, given: Value) -> f64 {
    of(&json!([region("c", kind, expected)]), &json!([region("c", kind, given)])).score
}

fn choices(from: &str, expected: &[&str], given: &[&str]) -> f64 {
    let side = |chosen: &[&str]| json!([region(from, "choices", json!({"choices": chosen}))]);
    of(&side(expected), &side(given)).score
}

fn rectangle(label: &str, x: f64, width: f64) -> Value {
    let value =
        json!({"x": x, "y": 10, "width": width, "height": 10, "rotation": 0, "rectanglelabels": [label]});
    region("box", "rectanglelabels", value)
}

fn near(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-6, "{a} is not {b}");
}

#[test]
fn choices_by_hand() {
    assert_eq!(choices("one", &["cat"], &["cat"]), 1.0);
    assert_eq!(choices("one", &["cat"], &["dog"]), 0.0);
    assert_eq!(choices("one", &["cat", "dog"], &["dog"]), 0.0);
    assert_eq!(choices("many", &["cat", "dog"], &["dog"]), 0.5);
    assert_eq!(choices("many", &["cat", "dog", "cow"], &["dog", "cow", "pig"]), 0.5);
    assert_eq!(choices("many", &["cat", "dog"], &["dog", "cat"]), 1.0);
    assert_eq!(choices("many", &["cat"], &["dog"]), 0.0);
}

#[test]
fn taxonomy_by_hand() {
    let paths = |paths: Value| json!({ "taxonomy": paths });
    assert_eq!(value("taxonomy", paths(json!([["a", "b"]])), paths(json!([["a", "b"]]))), 1.0);
    // {a, a/b} against {a, a/c}: one of three.
    near(value("taxonomy", paths(json!([["a", "b"]])), paths(json!([["a", "c"]]))), 1.0 / 3.0);
    assert_eq!(value("taxonomy", paths(json!([["a", "b"]])), paths(json!([["b", "a"]]))), 0.0);
}

#[test]
fn numbers_within_their_tolerance() {
    assert_eq!(value("rating", json!({"rating": 4}), json!({"rating": 4})), 1.0);
    assert_eq!(value("rating", json!({"rating": 4}), json!({"rating": 5})), 0.0);
    assert_eq!(value("number", json!({"number": 0.3}), json!({"number": 0.1 + 0.2})), 1.0);
    let mut gold = region("c", "rating", json!({"rating": 4}));
    gold["tolerance"] = json!(1);
    let given = |rating: u8| json!([region("c", "rating", json!({ "rating": rating }))]);
    assert_eq!(of(&json!([gold]), &given(5)).score, 1.0);
    assert_eq!(of(&json!([gold]), &given(2)).score, 0.0);
}

#[test]
fn texts_by_hand() {
    let text = |text: &str| json!({"text": [text]});
    near(value("textarea", text("kitten"), text("sitting")), 1.0 - 3.0 / 7.0);
    near(value("textarea", text("äöü"), text("äöo")), 2.0 / 3.0);
    assert_eq!(value("textarea", text(""), json!({"text": []})), 1.0);
    assert_eq!(value("textarea", json!({"text": "a"}), text("a")), 1.0);
    assert_eq!(value("textarea", text("abc"), text("xyz")), 0.0);
}

#[test]
fn pairs_orders_and_dates_by_hand() {
    assert_eq!(value("pairwise", json!({"selected": "left"}), json!({"selected": "left"})), 1.0);
    assert_eq!(value("pairwise", json!({"selected": "left"}), json!({"selected": "right"})), 0.0);
    assert_eq!(value("datetime", json!({"datetime": "2026-04-06"}), json!({"datetime": "2026-04-07"})), 0.0);
    let rank = |items: Value| json!({"ranker": {"best": items}});
    assert_eq!(value("ranker", rank(json!(["a", "b"])), rank(json!(["a", "b"]))), 1.0);
    // Both are in the bucket, in the wrong order: 2 of 4 statements.
    assert_eq!(value("ranker", rank(json!(["a", "b"])), rank(json!(["b", "a"]))), 0.5);
}

#[test]
fn spans_by_hand() {
    let span = |start: i32, end: i32, label: &str| json!({"start": start, "end": end, "labels": [label]});
    near(value("labels", span(0, 10, "PER"), span(2, 10, "PER")), 0.8);
    assert_eq!(value("labels", span(0, 10, "PER"), span(0, 10, "LOC")), 0.0);
    // Less than half is no match.
    assert_eq!(value("labels", span(0, 10, "PER"), span(6, 14, "PER")), 0.0);
    let html = |start: i32, end: i32| {
        json!({"start": "/p[1]/text()[1]", "end": "/p[2]/text()[1]", "startOffset": 1, "endOffset": 2,
               "globalOffsets": {"start": start, "end": end}, "hypertextlabels": ["T"]})
    };
    near(value("hypertextlabels", html(0, 4), html(0, 3)), 0.75);
    let said = |paragraph: &str, end: i32| json!({"start": paragraph, "end": paragraph, "startOffset": 0, "endOffset": end, "paragraphlabels": ["P"]});
    near(value("paragraphlabels", said("1", 4), said("1", 3)), 0.75);
    assert_eq!(value("paragraphlabels", said("1", 4), said("2", 4)), 0.0);
    let frames = |ranges: Value| json!({"ranges": ranges, "timelinelabels": ["goal"]});
    // Frames 1 to 10 against 1 to 5 and 8 to 10: 8 of 10.
    let (whole, parts) =
        (json!([{"start": 1, "end": 10}]), json!([{"start": 8, "end": 10}, {"start": 1, "end": 5}]));
    near(value("timelinelabels", frames(whole), frames(parts)), 0.8);
}

#[test]
fn boxes_are_matched_one_to_one_by_label() {
    let gold =
        json!([rectangle("car", 0.0, 10.0), rectangle("car", 50.0, 10.0), rectangle("bus", 80.0, 10.0)]);
    // One exact, one off by a fifth (IoU 2/3), one with the wrong label, one too many.
    let given = json!([
        rectangle("car", 52.0, 10.0),
        rectangle("car", 0.0, 10.0),
        rectangle("car", 80.0, 10.0),
        rectangle("car", 30.0, 10.0)
    ]);
    let result = of(&gold, &given);
    // 2 pairs, 1 missing, 2 extra.
    near(result.score, (1.0 + 8.0 / 12.0) / 5.0);
    let control = &result.details.controls["box"];
    let pairs: Vec<_> = control.matched.iter().map(|pair| (pair.expected, pair.given)).collect();
    assert_eq!((pairs, &*control.missing, &*control.extra), (vec![(0, 1), (1, 0)], &[2][..], &[2, 3][..]));
}

/// The first fits the second best, but then nothing is left for the third.
#[test]
fn the_best_pairs_are_not_the_greedy_ones() {
    let gold = json!([rectangle("car", 10.0, 10.0), rectangle("car", 13.0, 10.0)]);
    let given = json!([rectangle("car", 12.0, 10.0), rectangle("car", 15.9, 10.0)]);
    let result = of(&gold, &given);
    assert_eq!(result.details.controls["box"].matched.len(), 2, "{result:?}");
}

#[test]
fn pages_and_objects_keep_apart() {
    let page = |page: u8| {
        let mut region = rectangle("car", 0.0, 10.0);
        region["item_index"] = json!(page);
        json!([region])
    };
    assert_eq!(of(&page(0), &page(1)).score, 0.0);
    let mut other = rectangle("car", 0.0, 10.0);
    other["to_name"] = json!("second");
    assert_eq!(of(&json!([other]), &json!([rectangle("car", 0.0, 10.0)])).score, 0.0);
}

#[test]
fn a_label_beside_its_geometry_is_compared_as_geometry() {
    let labelled = |x: f64| {
        let value = json!({"x": x, "y": 10, "width": 10, "height": 10, "labels": ["car"]});
        json!([region("label", "labels", value)])
    };
    near(of(&labelled(0.0), &labelled(2.0)).score, 8.0 / 12.0);
}

#[test]
fn controls_count_alike_and_nothing_is_all_right() {
    let gold = json!([region("one", "choices", json!({"choices": ["cat"]})), rectangle("car", 0.0, 10.0)]);
    let given = json!([region("one", "choices", json!({"choices": ["cat"]}))]);
    assert_eq!(of(&gold, &given).score, 0.5);
    assert_eq!(of(&json!([]), &json!([])).score, 1.0);
    assert_eq!(of(&gold, &json!([])).score, 0.0);
    assert_eq!(of(&json!([]), &gold).score, 0.0);
}

#[test]
fn relations_are_left_out_and_noted() {
    let relation = json!({"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"});
    let result = of(&json!([rectangle("car", 0.0, 10.0), relation]), &json!([rectangle("car", 0.0, 10.0)]));
    assert_eq!(result.score, 1.0);
    assert!(result.details.notes[0].contains("1 relations"), "{:?}", result.details.notes);
}

#[test]
fn brushes_by_hand_and_unreadable_ones_only_when_equal() {
    // Three of eight pixels, and two of them.
    let brush = |rle: Value| json!({"format": "rle", "rle": rle, "brushlabels": ["sky"]});
    let three = json!([0, 0, 0, 32, 57, 27, 252, 96, 19, 255, 223, 0, 143, 252]);
    let of_size = |width: u32, rle: &Value| {
        let mut region = region("brush", "brushlabels", brush(rle.clone()));
        region["original_width"] = json!(width);
        region["original_height"] = json!(2);
        json!([region])
    };
    assert_eq!(of(&of_size(4, &three), &of_size(4, &three)).score, 1.0);
    let two = json!([0, 0, 0, 32, 57, 27, 252, 96, 19, 255, 225, 48, 0]);
    near(of(&of_size(4, &three), &of_size(4, &two)).score, 2.0 / 3.0);
    // Not of an image of this size.
    let result = of(&of_size(5, &three), &of_size(5, &two));
    assert_eq!(result.score, 0.0);
    assert!(result.details.notes[0].contains("can't be measured"), "{:?}", result.details.notes);
}

#[test]
fn what_is_too_much_is_compared_by_equality() {
    let many: Vec<_> = (0..1_000).map(|n| rectangle("car", f64::from(n) / 100.0, 10.0)).collect();
    let result = of(&json!(many), &json!(many[500..]));
    assert_eq!(result.score, 0.5);
    assert!(result.details.notes[0].contains("too much"), "{:?}", result.details.notes);
    // A star of thousands of lines that all cross.
    let star = |turn: f64| {
        let points: Vec<_> = (0..5_000)
            .map(|n| (f64::from(n) * 2.9 + turn).sin_cos())
            .map(|(x, y)| [50.0 + 40.0 * x, 50.0 + 40.0 * y])
            .collect();
        json!([region("area", "polygonlabels", json!({"points": points, "polygonlabels": ["a"]}))])
    };
    assert_eq!(of(&star(0.0), &star(0.1)).score, 0.0);
    assert_eq!(of(&star(0.0), &star(0.0)).score, 1.0);
    let long = |letter: &str| json!([region("c", "textarea", json!({"text": [letter.repeat(50_000)]}))]);
    assert_eq!(of(&long("a"), &long("b")).score, 0.0);
}

/// A region of some control, plausible and not.
fn a_region() -> impl Strategy<Value = Value> {
    let percent = || prop_oneof![0.0..100.0, Just(0.0), Just(50.0), -1e12..1e12];
    let label = || prop_oneof![Just("a"), Just("b")];
    let labels = || proptest::collection::vec(label(), 0..2);
    prop_oneof![
        (label(), labels()).prop_map(|(from, chosen)| region(
            &format!("c{from}"),
            "choices",
            json!({"choices": chosen})
        )),
        labels().prop_map(|chosen| region("many", "choices", json!({"choices": chosen}))),
        (percent(), percent(), percent(), percent(), percent(), labels()).prop_map(|(x, y, w, h, r, l)| {
            region(
                "box",
                "rectanglelabels",
                json!({"x": x, "y": y, "width": w, "height": h, "rotation": r, "rectanglelabels": l}),
            )
        }),
        (percent(), percent(), percent(), percent()).prop_map(|(x, y, rx, ry)| region(
            "ellipse",
            "ellipse",
            json!({"x": x, "y": y, "radiusX": rx, "radiusY": ry})
        )),
        proptest::collection::vec((percent(), percent()), 0..8).prop_map(|points| region(
            "area",
            "polygon",
            json!({ "points": points })
        )),
        (percent(), percent(), label()).prop_map(|(x, y, l)| region(
            "point",
            "keypointlabels",
            json!({"x": x, "y": y, "keypointlabels": [l]})
        )),
        (0..20i32, 0..20i32, label()).prop_map(|(a, b, l)| region(
            "ner",
            "labels",
            json!({"start": a, "end": b, "labels": [l]})
        )),
        ("[ab]{0,4}").prop_map(|text| region("note", "textarea", json!({"text": [text]}))),
        (0..5u8).prop_map(|stars| region("stars", "rating", json!({ "rating": stars }))),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(|rle| region(
            "brush",
            "brush",
            json!({ "rle": rle })
        )),
        (label(), label()).prop_map(|(a, b)| region("odd", "somenewtag", json!({ a: b }))),
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    let keys = prop_oneof![
        Just("from_name"),
        Just("to_name"),
        Just("type"),
        Just("value"),
        Just("points"),
        Just("x"),
        Just("y"),
        Just("width"),
        Just("height"),
        Just("rle"),
        Just("choices"),
        Just("ranges"),
        Just("start"),
        Just("end"),
        Just("ranker"),
        Just("taxonomy"),
        Just("text"),
        Just("original_width"),
        Just("globalOffsets"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop_oneof![
            Just("polygon"),
            Just("brush"),
            Just("labels"),
            Just("choices"),
            Just("ranker"),
            Just("c")
        ]
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((keys.clone(), inner), 0..7).prop_map(|fields| Value::Object(
                fields.into_iter().map(|(key, value)| (key.into(), value)).collect()
            )),
        ]
    })
}

proptest! {
    #[test]
    fn bounded_symmetric_and_one_on_itself(
        a in proptest::collection::vec(a_region(), 0..8),
        b in proptest::collection::vec(a_region(), 0..8),
    ) {
        let (forth, back) = (of(&json!(a), &json!(b)).score, of(&json!(b), &json!(a)).score);
        prop_assert!((0.0..=1.0).contains(&forth));
        prop_assert!((forth - back).abs() < 1e-6, "{} {}", forth, back);
        prop_assert_eq!(of(&json!(a), &json!(a)).score, 1.0);
    }

    #[test]
    fn unchanged_by_order(a in proptest::collection::vec(a_region(), 0..8), seed: u64) {
        use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
        let mut shuffled = a.clone();
        shuffled.shuffle(&mut StdRng::seed_from_u64(seed));
        // Against a half of them, so that not all is right.
        let gold = json!(a[..a.len().div_ceil(2)]);
        let (one, other) = (of(&gold, &json!(a)).score, of(&gold, &json!(shuffled)).score);
        prop_assert!((one - other).abs() < 1e-6, "{} {}", one, other);
    }

    #[test]
    fn no_json_panics(a in any_json(), b in any_json()) {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        let wrapped = |value: &Value, kind: &str| json!([region("c", kind, value.clone())]);
        let interface = interface::read(XML);
        prop_assert!((0.0..=1.0).contains(&score(&interface, &list(&a), &list(&b)).score));
        for kind in ["polygon", "rectanglelabels", "brush", "labels", "timelinelabels", "ranker", "taxonomy", "textarea", "choices"] {
            prop_assert!((0.0..=1.0).contains(&of(&wrapped(&a, kind), &wrapped(&b, kind)).score));
        }
    }
}
