//! Goes through a config's tags once: what they are, and what is wrong with them.

use roxmltree::{Document, Node};

use super::{ControlTag, Count, Interface, ObjectTag, tags};

/// More than anybody reads at once.
const MAX_PROBLEMS: usize = 100;

/// The interface as far as it can be read, and every problem.
pub(super) fn walk(document: &Document<'_>) -> (Interface, Vec<String>) {
    let mut walk = Walk { document, interface: Interface::default(), problems: Vec::new() };
    let root = document.root_element();
    walk.declaration();
    if !root.has_tag_name("View") {
        walk.problem(root, &format!("the root must be <View>, not <{}>", root.tag_name().name()));
    }
    for node in root.descendants().filter(Node::is_element) {
        walk.variables(node);
        walk.tag(node);
    }
    walk.names(root);
    walk.targets(root);
    if !root.descendants().any(|node| tags::is_object(node.tag_name().name())) {
        walk.problem(
            root,
            "there is no object tag (Image, Text, Audio, Video, …): add one for what is labeled",
        );
    }
    (walk.interface, walk.problems)
}

struct Walk<'a, 'input> {
    document: &'a Document<'input>,
    interface: Interface,
    problems: Vec<String>,
}

impl<'a, 'input: 'a> Walk<'a, 'input> {
    fn problem(&mut self, node: Node<'a, 'input>, message: &str) {
        if self.problems.len() < MAX_PROBLEMS {
            let line = self.document.text_pos_at(node.range().start).row;
            self.problems.push(format!("line {line}: {message}"));
        }
    }

    /// Label Studio hands the text on to a reader that wants no encoding in a text that is decoded already.
    fn declaration(&mut self) {
        let text = self.document.input_text();
        let declaration = text.strip_prefix("<?xml").and_then(|rest| rest.split_once("?>"));
        if declaration.is_some_and(|(declaration, _)| declaration.contains("encoding")) {
            self.problems
                .push("line 1: leave the encoding out of <?xml …?>: Label Studio can't read it".into());
        }
    }

    /// The task's fields that a tag reads: `$image`, `$images[{{idx}}]`, `https://host/$path`.
    fn variables(&mut self, node: Node<'a, 'input>) {
        for attribute in node.attributes() {
            let reads_within = attribute.name() == "value";
            let text = attribute.value();
            for (at, _) in text.match_indices('$').filter(|(at, _)| reads_within || *at == 0) {
                let rest = text.get(at + 1..).unwrap_or_default();
                let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let is_name = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
                if is_name && !self.interface.variables.contains(&name) {
                    self.interface.variables.push(name);
                }
            }
        }
    }

    fn tag(&mut self, node: Node<'a, 'input>) {
        let tag = node.tag_name().name();
        let (name, to_name) = (node.attribute("name"), node.attribute("toName"));
        if tags::is_object(tag) {
            self.object(node);
        }
        if tags::is_control(tag) && (name.is_none() || to_name.is_none()) {
            let what = if name.is_none() { "name" } else { "toName" };
            self.problem(node, &format!("<{tag}> is a control and needs {what}=\"…\""));
        }
        if let (Some(name), Some(to_name)) = (name, to_name)
            && tag != "Filter"
        {
            let (labels, is_dynamic) = labels(node);
            if matches!(tag, "Choices" | "Labels") && labels.is_empty() && !is_dynamic {
                let child = tag.trim_end_matches('s');
                self.problem(
                    node,
                    &format!("<{tag} name=\"{name}\"> has nothing to pick: put a <{child}> in it"),
                );
            }
            self.interface.control_tags.push(ControlTag {
                name: name.to_owned(),
                tag: tag.to_owned(),
                to_name: to_name.split(',').map(str::to_owned).collect(),
                multiple: node.attribute("choice") == Some("multiple"),
                labels: if is_dynamic { Vec::new() } else { labels },
            });
        }
        if matches!(tag, "Choice" | "Label") && node.attribute("value").is_none() {
            self.problem(node, &format!("<{tag}> needs value=\"…\""));
        }
    }

    fn object(&mut self, node: Node<'a, 'input>) {
        let tag = node.tag_name().name();
        match node.attribute("name").filter(|name| !name.is_empty()) {
            Some(name) => {
                self.interface.object_tags.push(ObjectTag { name: name.to_owned(), tag: tag.to_owned() })
            }
            None => self.problem(node, &format!("<{tag}> needs name=\"…\", for controls to point at")),
        }
        let sources = [node.attribute("value"), node.attribute("valueList")];
        match sources.iter().flatten().count() {
            // Brings what it shows itself.
            _ if tag == "ReactCode" => {}
            1 => {}
            0 => self.problem(node, &format!("<{tag}> needs value=\"$…\", the task's field to show")),
            _ => self.problem(node, &format!("<{tag}> has both value and valueList: keep one")),
        }
    }

    /// A name is used once, whatever it names.
    fn names(&mut self, root: Node<'a, 'input>) {
        let mut seen = Count::new();
        for node in root.descendants() {
            let Some(name) = node.attribute("name") else { continue };
            let count = seen.entry(name).or_default();
            *count += 1;
            if *count == 2 {
                self.problem(node, &format!("name=\"{name}\" is used twice: names must differ"));
            }
        }
    }

    /// Each `toName` names objects; a `<Filter>`'s names what it filters, which is a control.
    fn targets(&mut self, root: Node<'a, 'input>) {
        let objects: Vec<String> = self.interface.object_tags.iter().map(|tag| tag.name.clone()).collect();
        let controls: Vec<String> = self.interface.control_tags.iter().map(|tag| tag.name.clone()).collect();
        for node in root.descendants() {
            let Some(targets) = node.attribute("toName") else { continue };
            let tag = node.tag_name().name();
            let (known, what) = if tag == "Filter" { (&controls, "control") } else { (&objects, "object") };
            for target in targets.split(',').filter(|target| !known.iter().any(|name| name == target)) {
                if self.problems.len() >= MAX_PROBLEMS {
                    return;
                }
                let message = format!(
                    "toName of <{tag}> says \"{target}\", and no {what} tag has that name: {}",
                    advice(target, known)
                );
                self.problem(node, &message);
            }
        }
    }
}

fn advice(target: &str, known: &[String]) -> String {
    if known.iter().any(|name| name == target.trim()) {
        return "leave out the blanks".to_owned();
    }
    let some: Vec<_> = known.iter().take(10).map(|name| format!("\"{name}\"")).collect();
    match some.as_slice() {
        [] => "give one a name".to_owned(),
        some => format!("use {}", some.join(", ")),
    }
}

/// What can be picked in a control, and whether tasks bring their own instead.
fn labels(node: Node<'_, '_>) -> (Vec<String>, bool) {
    let labels = node
        .descendants()
        .filter(|child| matches!(child.tag_name().name(), "Choice" | "Label"))
        .filter_map(|child| child.attribute("alias").or_else(|| child.attribute("value")))
        .map(str::to_owned)
        .collect();
    let is_dynamic = node.attribute("value").is_some_and(|value| value.contains('$'))
        || node.attribute("apiUrl").is_some()
        || node.descendants().any(|child| {
            child != node && child.attribute("value").is_some_and(|value| value.starts_with('$'))
        });
    (labels, is_dynamic)
}
