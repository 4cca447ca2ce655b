use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const BOXES: &str = r#"<View>
  <Header value="What is in $title?"/>
  <Image name="image" value="$image"/>
  <RectangleLabels name="box" toName="image"><Label value="car"/><Label value="Person" alias="person"/></RectangleLabels>
  <Choices name="weather" toName="image" choice="multiple"><Choice value="sun"/><Choice value="rain"/></Choices>
  <Filter name="filter" toName="box"/>
  <TextArea name="note" toName="image"/>
</View>"#;

fn problems(xml: &str) -> String {
    check(xml).unwrap_err().join("\n")
}

#[test]
fn the_interface_is_told() {
    let interface = check(BOXES).unwrap();
    assert_eq!(interface.variables, ["title", "image"]);
    assert_eq!(interface.object_tags, [ObjectTag { name: "image".into(), tag: "Image".into() }]);
    let controls: Vec<_> = interface.control_tags.iter().map(|control| &*control.name).collect();
    assert_eq!(controls, ["box", "weather", "note"]);
    assert_eq!(interface.control("box").unwrap().labels, ["car", "person"]);
    assert!(interface.control("weather").unwrap().multiple);
    assert_eq!(read(BOXES), interface);
}

#[test]
fn several_objects_and_repeated_ones() {
    let two = r#"<View><Text name="a" value="$a"/><Text name="b" value="$b"/>
        <Pairwise name="p" toName="a,b"/></View>"#;
    assert_eq!(check(two).unwrap().control("p").unwrap().to_name, ["a", "b"]);
    let repeated = r#"<View><Repeater on="$pages" indexFlag="{{idx}}"><Image name="p_{{idx}}" value="$pages[{{idx}}]"/>
        <Choices name="c_{{idx}}" toName="p_{{idx}}"><Choice value="x"/></Choices></Repeater></View>"#;
    let interface = check(repeated).unwrap();
    assert_eq!(interface.variables, ["pages"]);
    assert!(interface.control("c_12").is_some());
    assert!(interface.control("c_").is_none() && interface.control("c_1x").is_none());
}

#[test]
fn the_reason_and_the_line_are_told() {
    for (xml, part) in [
        ("", "1 to 50000 characters"),
        ("<View>\n<Image>\n</View>", "3:"),
        ("no xml", "invalid XML"),
        ("\n<Image name='i' value='$i'/>", "line 2: the root must be <View>, not <Image>"),
        ("<View><Header value='hi'/></View>", "no object tag"),
        ("<View><HyperTextLabels name='a' toName='b'/></View>", "no object tag"),
        ("<!DOCTYPE v [<!ENTITY x 'y'>]><View><Image/></View>", "document type declaration"),
        ("<!DOCTYPE v SYSTEM 'file:///etc/passwd'><View/>", "document type declaration"),
        ("<View>\n&lol;</View>", "line 2: &lol; is not known"),
        ("<View><Image a='1' a='2'/></View>", "invalid XML"),
        ("<View><Image value='$i'/></View>", "<Image> needs name"),
        ("<View><Image name='i'/></View>", "<Image> needs value"),
        ("<View><Image name='i' value='$a' valueList='$b'/></View>", "keep one"),
        (
            "<View><Image name='i' value='$i'/>\n<Choices toName='i'/></View>",
            "line 2: <Choices> is a control",
        ),
        ("<View><Image name='i' value='$i'/><Rating name='r'/></View>", "needs toName"),
        ("<View><Image name='i' value='$i'/><Choices name='c' toName='i'/></View>", "nothing to pick"),
        ("<View><Image name='i' value='$i'/><Rating name='i' toName='i'/></View>", "used twice"),
        ("<View><Image name='i' value='$i'/><Rating name='r' toName='image'/></View>", "use \"i\""),
        (
            "<View><Text name='a' value='$a'/><Text name='b' value='$b'/><Pairwise name='p' toName='a, b'/></View>",
            "leave out the blanks",
        ),
        ("<View><Text name='a' value='$a'/><Filter name='f' toName='a'/></View>", "no control tag"),
        (
            "<?xml version='1.0' encoding='utf-8'?><View><Text name='a' value='$a'/></View>",
            "leave the encoding out",
        ),
        (
            "<View><Text name='t' value='$t'/><Labels name='l' toName='t'><Label/></Labels></View>",
            "<Label> needs value",
        ),
    ] {
        let told = problems(xml);
        assert!(told.contains(part), "{xml}: {told}");
    }
}

#[test]
fn every_problem_is_told_at_once() {
    let xml =
        "<View>\n<Image name='i'/>\n<Rating name='i' toName='x'/>\n<Choices name='c' toName='i,y'/></View>";
    let told = check(xml).unwrap_err();
    let lines: Vec<_> = told.iter().map(|problem| problem.split(':').next().unwrap()).collect();
    assert_eq!(lines, ["line 2", "line 4", "line 3", "line 3", "line 4"], "{told:#?}");
}

#[test]
fn size_and_depth_are_bounded() {
    let nested =
        |depth: usize| format!("<View>{}<Image/>{}</View>", "<a>".repeat(depth), "</a>".repeat(depth));
    assert!(problems(&nested(5_000)).contains("nested deeper"));
    assert!(problems(&format!("<View>{}</View>", "<a/>".repeat(12_000))).contains("more than 10000"));
    assert!(problems(&"<".repeat(50_001)).contains("1 to 50000"));
    // Thousands of problems are not a gigabyte of messages.
    let many = format!(
        "<View><Text name='t' value='$t'/><Rating name='r' toName='{}'/></View>",
        "x,".repeat(20_000)
    );
    assert_eq!(check(&many).unwrap_err().len(), 100);
}

fn paths(labels: &Value) -> Vec<String> {
    let interface = read(BOXES);
    let regions: Vec<_> =
        labels.as_array().unwrap().iter().map(|region| region.as_object().unwrap().clone()).collect();
    misfits(&interface, "labels", &regions).into_iter().map(|issue| issue.path).collect()
}

#[test]
fn what_fits_and_what_does_not() {
    let region = |from: &str, kind: &str, value: Value| json!({"from_name": from, "to_name": "image", "type": kind, "value": value});
    let square = json!({"x": 1, "y": 1, "width": 5, "height": 5, "rectanglelabels": ["person"]});
    for fits in [
        region("box", "rectanglelabels", square.clone()),
        region("weather", "choices", json!({"choices": ["sun", "rain"]})),
        region("note", "textarea", json!({"text": ["a"]})),
        json!({"type": "relation", "from_id": "a", "to_id": "b"}),
    ] {
        assert_eq!(paths(&json!([fits])), [] as [&str; 0], "{fits}");
    }
    for (misfit, expected) in [
        (json!({}), vec!["labels[0].from_name", "labels[0].type", "labels[0].value"]),
        (region("boxes", "rectanglelabels", square.clone()), vec!["labels[0].from_name"]),
        (region("box", "choices", square), vec!["labels[0].type"]),
        (
            region("weather", "choices", json!({"choices": ["sun", "snow"]})),
            vec!["labels[0].value.choices[1]"],
        ),
        (region("weather", "choices", json!({"choices": []})), vec!["labels[0].value.choices"]),
        (region("note", "textarea", json!({"text": [1]})), vec!["labels[0].value.text"]),
        (
            region(
                "box",
                "rectanglelabels",
                json!({"x": "1", "y": 1, "width": 5, "rectanglelabels": ["car"]}),
            ),
            vec!["labels[0].value.x", "labels[0].value.height"],
        ),
    ] {
        assert_eq!(paths(&json!([misfit])), expected, "{misfit}");
    }
    let mut elsewhere = region("note", "textarea", json!({"text": "a"}));
    elsewhere["to_name"] = json!("text");
    elsewhere["tolerance"] = json!(-1);
    assert_eq!(paths(&json!([elsewhere])), ["labels[0].to_name", "labels[0].tolerance"]);
}

proptest! {
    #[test]
    fn no_text_panics(xml in "\\PC{0,300}") {
        let _ = check(&xml);
    }

    /// Mostly tags, so that more than the parser is met.
    #[test]
    fn no_tags_panic(parts in proptest::collection::vec(prop_oneof![
        "<(View|Image|Choices|Label|Filter|[a-z:]{1,3})( (name|toName|value|choice)=\"[$a-z,{}äß]{0,5}\"){0,3}/?>",
        "</(View|Image|Choices|Label)>", "&[a-z#0-9]{0,5};", "<!--x-->", "<\\?xml encoding\\?>", "[\\x00-\\x7f]{0,3}",
    ], 0..20)) {
        let xml = parts.concat();
        let _ = check(&xml);
        let _ = read(&xml);
        let _ = check(&format!("<View>{xml}</View>"));
    }
}
