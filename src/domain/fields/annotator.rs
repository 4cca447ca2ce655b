use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Fields;
use crate::domain::{
    RoleId,
    check::{Checks, Issue, is_email},
};

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AnnotatorInput)]
pub struct AnnotatorFields {
    #[schema(min_length = 1, max_length = 255)]
    pub name: String,
    /// Unique, whatever its case; also the login to the annotator's Label Studio.
    #[schema(format = "email", max_length = 254)]
    pub email: String,
    #[schema(value_type = Option<i64>)]
    pub role_id: Option<RoleId>,
    #[schema(max_length = 2000)]
    pub notes: Option<String>,
}

impl Fields for AnnotatorFields {
    fn check(&self) -> Result<(), Vec<Issue>> {
        let mut checks = Checks::default();
        checks.text("name", &self.name, 1..=255);
        checks.require("email", is_email(&self.email), "must be an email address");
        checks.optional_text("notes", self.notes.as_deref(), 0..=2000);
        checks.done()
    }
}

/// What an annotator's subdomain starts from: the name as a DNS label, short enough for a number behind it.
pub fn subdomain_base(name: &str) -> String {
    let words = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase);
    let label: String = words.collect::<Vec<_>>().join("-").chars().take(40).collect();
    let label = label.trim_end_matches('-');
    if label.is_empty() { "annotator".to_owned() } else { label.to_owned() }
}

/// For each base in turn the first free name among `alice`, `alice-2`, `alice-3` …
pub fn free_subdomains<'a>(
    bases: impl IntoIterator<Item = &'a str>,
    mut taken: HashSet<String>,
) -> Vec<String> {
    let mut free = |base: &str| {
        let numbered = (2_u64..).map(|number| format!("{base}-{number}"));
        let name = std::iter::once(base.to_owned()).chain(numbered).find(|name| !taken.contains(name));
        let name = name.unwrap_or_default();
        taken.insert(name.clone());
        name
    };
    bases.into_iter().map(&mut free).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_become_labels() {
        for (name, label) in [
            ("Alice", "alice"),
            ("Bob  the-Builder!", "bob-the-builder"),
            ("Łukasz Öz", "ukasz-z"),
            ("日本", "annotator"),
            ("--", "annotator"),
        ] {
            assert_eq!(subdomain_base(name), label, "{name}");
        }
    }

    #[test]
    fn names_are_numbered_past_those_that_are_taken() {
        let taken = ["alice", "alice-3"].map(String::from).into();
        let free = free_subdomains(["alice", "bob", "alice", "bob", "alice-2"], taken);
        assert_eq!(free, ["alice-2", "bob", "alice-4", "bob-2", "alice-2-2"]);
    }

    proptest! {
        #[test]
        fn any_name_makes_a_dns_label(name in ".{0,300}") {
            let label = subdomain_base(&name);
            prop_assert!((1..=40).contains(&label.len()));
            prop_assert!(label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
            prop_assert!(!label.starts_with('-') && !label.ends_with('-'));
        }
    }
}
