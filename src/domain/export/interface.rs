//! What of a labeling config a deliverable needs: the classes, in one order for all batches of a workflow, and the
//! names of the controls.

use crate::domain::interface;

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
        for control in interface::read(xml).control_tags {
            push(&mut interface.controls, control.name);
            if interface::carries_labels(&control.tag.to_ascii_lowercase()) {
                control.labels.into_iter().for_each(|label| push(&mut interface.labels, label));
            }
        }
        interface
    }
}

fn push(names: &mut Vec<String>, name: String) {
    if !names.contains(&name) {
        names.push(name);
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
