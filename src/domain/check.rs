//! Checking what a caller says, and telling of every bad field at once.

use std::{fmt::Display, ops::RangeInclusive};

use serde::Serialize;

/// One bad field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Issue {
    /// Where, as a path into the body: `annotators[2].email`.
    pub path: String,
    /// What is wanted there.
    pub message: String,
}

impl Issue {
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

/// Collects issues.
#[derive(Debug, Default)]
pub struct Checks(Vec<Issue>);

impl Checks {
    pub fn require(&mut self, path: &str, holds: bool, message: impl Into<String>) {
        if !holds {
            self.0.push(Issue { path: path.to_owned(), message: message.into() });
        }
    }

    /// A text of so many characters; where one is wanted at least, blanks alone are none.
    pub fn text(&mut self, path: &str, text: &str, length: RangeInclusive<usize>) {
        let filled = *length.start() == 0 || !text.trim().is_empty();
        self.require(path, filled && length.contains(&text.chars().count()), {
            let (least, most) = (length.start(), length.end());
            if *least == 0 {
                format!("at most {most} characters")
            } else {
                format!("{least} to {most} characters")
            }
        });
        self.require(path, !text.contains('\0'), "must not contain the character U+0000");
    }

    pub fn optional_text(&mut self, path: &str, text: Option<&str>, length: RangeInclusive<usize>) {
        if let Some(text) = text {
            self.text(path, text, length);
        }
    }

    pub fn within<T: PartialOrd + Display>(&mut self, path: &str, value: T, range: RangeInclusive<T>) {
        self.require(
            path,
            range.contains(&value),
            format!("must be from {} to {}", range.start(), range.end()),
        );
    }

    pub fn at_least<T: PartialOrd + Display>(&mut self, path: &str, value: Option<T>, least: T) {
        if let Some(value) = value {
            self.require(path, value >= least, format!("must be at least {least}"));
        }
    }

    pub fn done(self) -> Result<(), Vec<Issue>> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0) }
    }
}

/// `local@host.tld`, of the characters that need no quoting: what mail systems and Label Studio both take.
pub fn is_email(text: &str) -> bool {
    let Some((local, host)) = text.rsplit_once('@') else { return false };
    let plain = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    let dots_apart = !local.starts_with('.') && !local.ends_with('.') && !local.contains("..");
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 254
        && (1..=64).contains(&local.len())
        && local.chars().all(plain)
        && dots_apart
        && host.contains('.')
        && host.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emails() {
        for good in ["a@b.co", "alice.smith+x@fleet.local", "o'neil@mail.example.com"] {
            assert!(is_email(good), "{good}");
        }
        for bad in
            ["", "alice", "@b.co", "a@", "a@b", "a b@c.de", "a@b..co", ".a@b.co", "a@-b.co", "a@b@c.de\n"]
        {
            assert!(!is_email(bad), "{bad}");
        }
    }

    #[test]
    fn every_issue_is_told() {
        let mut checks = Checks::default();
        checks.text("name", "  ", 1..=5);
        checks.text("notes", "too long", 0..=3);
        checks.text("nul", "a\0", 1..=5);
        checks.within("rate", 1.5, 0.0..=1.0);
        checks.at_least("max", Some(0), 1);
        checks.at_least("max", None, 1);
        let issues = checks.done().unwrap_err();
        let paths: Vec<_> = issues.iter().map(|issue| issue.path.as_str()).collect();
        assert_eq!(paths, ["name", "notes", "nul", "rate", "max"]);
        assert_eq!(issues[3].message, "must be from 0 to 1");
    }

    #[test]
    fn length_is_counted_in_characters() {
        let mut checks = Checks::default();
        checks.text("name", "äöü", 1..=3);
        assert_eq!(checks.done(), Ok(()));
    }
}
