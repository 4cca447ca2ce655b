//! Many small files as one tar: one object to fetch and to verify, written as it grows. Its times are zero and its owner
//! is nobody, so that the same files are the same bytes.

use std::{collections::BTreeSet, io};

/// Appends one file.
pub fn append(out: &mut Vec<u8>, name: &str, content: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    let mut part = Vec::new();
    {
        let mut builder = tar::Builder::new(&mut part);
        builder.append_data(&mut header, name, content)?;
        // The end mark comes once, by [`finish`].
        builder.into_inner()?;
    }
    part.truncate(part.len().saturating_sub(END.len()));
    out.append(&mut part);
    Ok(())
}

/// A tar ends with two blocks of zeros.
const END: [u8; 1024] = [0; 1024];

pub fn finish(out: &mut Vec<u8>) {
    out.extend_from_slice(&END);
}

/// Names for files that stand for images.
#[derive(Debug, Default)]
pub struct Names(BTreeSet<String>);

impl Names {
    /// `{folder}/{key without its extension}.{extension}`: what tools look for beside an image of that key. Where
    /// another image has taken it, the key's extension stays in front; where that is taken too, a number follows.
    pub fn of(&mut self, folder: &str, key: &str, extension: &str) -> String {
        let key = path(key);
        let stem = match key.rsplit_once('.') {
            Some((stem, after)) if !stem.is_empty() && !stem.ends_with('/') && !after.contains('/') => stem,
            _ => &key,
        };
        let numbered = (2..).map(|number: u64| format!("{folder}/{key}.{number}.{extension}"));
        let name = [format!("{folder}/{stem}.{extension}"), format!("{folder}/{key}.{extension}")]
            .into_iter()
            .chain(numbered)
            .find(|name| !self.0.contains(name))
            .unwrap_or_default();
        self.0.insert(name.clone());
        name
    }
}

/// A key as a relative path that stays inside of the archive's folder.
fn path(key: &str) -> String {
    let steps = key.split('/').filter(|step| !step.is_empty()).map(|step| match step {
        "." | ".." => "_".to_owned(),
        step => step.replace(['\0', '\\'], "_"),
    });
    let path = steps.collect::<Vec<_>>().join("/");
    if path.is_empty() { "_".to_owned() } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_beside_the_images_and_never_twice() {
        let mut names = Names::default();
        assert_eq!(names.of("labels", "images/a.jpg", "txt"), "labels/images/a.txt");
        assert_eq!(names.of("labels", "images/a.png", "txt"), "labels/images/a.png.txt");
        assert_eq!(names.of("labels", "images/a.png", "txt"), "labels/images/a.png.2.txt");
        assert_eq!(names.of("labels", "v1.2/photo", "txt"), "labels/v1.2/photo.txt");
        assert_eq!(names.of("labels", "a/.hidden", "txt"), "labels/a/.hidden.txt");
    }

    #[test]
    fn no_key_leads_out_of_the_archive() {
        let mut names = Names::default();
        assert_eq!(names.of("labels", "/../../etc//./x.jpg", "txt"), "labels/_/_/etc/_/x.txt");
        assert_eq!(names.of("labels", "//", "txt"), "labels/_.txt");
    }

    #[test]
    fn long_names_are_kept() {
        let (mut out, name) = (Vec::new(), format!("labels/{}.txt", "x".repeat(300)));
        append(&mut out, &name, b"1").unwrap();
        append(&mut out, "b", b"").unwrap();
        finish(&mut out);
        let mut archive = tar::Archive::new(out.as_slice());
        let found: Vec<_> =
            archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned()).collect();
        assert_eq!(found, [std::path::PathBuf::from(name), "b".into()]);
    }
}
