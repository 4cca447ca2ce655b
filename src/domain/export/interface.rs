//! What of a labeling config a deliverable needs: the classes, in one order for all batches of a workflow, and the
//! names of the controls.

/// What a labeling config offers to the annotator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// Labels of regions in the config's order, each once; its `alias` where it has one, as in annotations.
    pub labels: Vec<String>,
    /// Names of the controls, in the config's order.
    pub controls: Vec<String>,
}

impl Interface {
    /// Of a config that was checked when it was stored; one that can't be read any more offers nothing.
    pub fn parse(xml: &str) -> Self {
        let mut interface = Self::default();
        let Ok(document) = roxmltree::Document::parse(xml) else { return interface };
        for node in document.root_element().descendants().filter(roxmltree::Node::is_element) {
            if let (Some(name), Some(_)) = (node.attribute("name"), node.attribute("toName")) {
                push(&mut interface.controls, name);
            }
            let is_class = node.has_tag_name("Label")
                && node.parent().is_some_and(|parent| parent.tag_name().name().ends_with("Labels"));
            if is_class && let Some(label) = node.attribute("alias").or_else(|| node.attribute("value")) {
                push(&mut interface.labels, label);
            }
        }
        interface
    }
}

fn push(names: &mut Vec<String>, name: &str) {
    if !names.iter().any(|known| known == name) {
        names.push(name.to_owned());
    }
}

/// Classes by number: the config's first, then what annotations hold beyond it, in the order in which it is met.
#[derive(Debug)]
pub(super) struct Classes(Vec<String>);

impl Classes {
    pub fn new(interface: &Interface) -> Self {
        Self(interface.labels.clone())
    }

    /// From 0.
    pub fn number(&mut self, label: &str) -> usize {
        self.0.iter().position(|known| known == label).unwrap_or_else(|| {
            self.0.push(label.to_owned());
            self.0.len() - 1
        })
    }

    pub fn names(&self) -> &[String] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::CONFIG, *};

    #[test]
    fn labels_and_controls_are_in_the_configs_order() {
        let interface = Interface::parse(CONFIG);
        assert_eq!(interface.labels, ["car", "person, tall", "road", "himmel"]);
        assert_eq!(interface.controls, ["box", "area", "brush", "weather", "note"]);
        assert_eq!(Interface::parse("<View"), Interface::default());
    }
}
