//! The names of what an annotator has outside our own tables: derived, so that no name has to be stored before
//! the thing is made, and so that two runs of a job make the same thing.

use std::str::FromStr;

use super::AnnotatorId;

/// A fleet among those that share a Docker Engine, a folder or a Postgres server. The only one on its machine
/// needs no name: `fleet-ls-7`, `ls_annotator_7`; one named `blue` has `blue-fleet-ls-7`, `blue_ls_annotator_7`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FleetName(String);

#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no fleet name: a letter a-z, then up to 15 of a-z and 0-9")]
pub struct BadFleetName(String);

impl FromStr for FleetName {
    type Err = BadFleetName;

    fn from_str(text: &str) -> Result<Self, BadFleetName> {
        let starts = text.starts_with(|c: char| c.is_ascii_lowercase());
        let rest = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        if starts && rest && text.len() <= 16 {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadFleetName(text.to_owned()))
        }
    }
}

impl FleetName {
    /// The mark of ownership on what the fleet makes.
    pub fn owner(&self) -> &str {
        if self.0.is_empty() { "labelfleet" } else { &self.0 }
    }

    /// The instance of an annotator: container, volume, folder.
    pub fn instance(&self, annotator: AnnotatorId) -> String {
        if self.0.is_empty() {
            format!("fleet-ls-{annotator}")
        } else {
            format!("{}-fleet-ls-{annotator}", self.0)
        }
    }

    /// Whose instance has this name, if it is this fleet's.
    pub fn annotator_of(&self, instance: &str) -> Option<AnnotatorId> {
        let (_, id) = instance.rsplit_once('-')?;
        let annotator = AnnotatorId(id.parse().ok()?);
        (self.instance(annotator) == instance).then_some(annotator)
    }

    /// The database of an annotator's Label Studio, and the role that owns it.
    pub fn database(&self, annotator: AnnotatorId) -> String {
        if self.0.is_empty() {
            format!("ls_annotator_{annotator}")
        } else {
            format!("{}_ls_annotator_{annotator}", self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_fleet_has_the_plain_names() {
        let fleet = FleetName::default();
        assert_eq!(fleet.instance(AnnotatorId(7)), "fleet-ls-7");
        assert_eq!(fleet.database(AnnotatorId(7)), "ls_annotator_7");
    }

    #[test]
    fn a_fleet_knows_its_own_instances_only() {
        let (plain, blue): (_, FleetName) = (FleetName::default(), "blue".parse().unwrap());
        let annotator = AnnotatorId(12);
        assert_eq!(plain.annotator_of("fleet-ls-12"), Some(annotator));
        assert_eq!(blue.annotator_of(&blue.instance(annotator)), Some(annotator));
        for (fleet, other) in [(&plain, "blue-fleet-ls-12"), (&blue, "fleet-ls-12"), (&plain, "fleet-ls-012")]
        {
            assert_eq!(fleet.annotator_of(other), None, "{other}");
        }
    }

    #[test]
    fn names_that_would_need_quoting_are_refused() {
        for name in ["", "Blue", "1a", "a-b", "a_b", "abcdefghijklmnopq", "a\"b"] {
            assert!(name.parse::<FleetName>().is_err(), "{name}");
        }
    }
}
