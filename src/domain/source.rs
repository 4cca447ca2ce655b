//! Which objects of an S3 prefix are images, and what a labeling config wants of a task's data.

/// What Label Studio's `Image` tag shows: by file extension, as S3 listings carry no content type.
const IMAGE_EXTENSIONS: &[&str] =
    &["avif", "bmp", "gif", "jfif", "jpeg", "jpg", "png", "svg", "tif", "tiff", "webp"];

pub fn is_image(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or(key);
    let Some((stem, extension)) = name.rsplit_once('.') else { return false };
    !stem.is_empty() && IMAGE_EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str())
}

/// The name under which a labeling config expects the image: `image` for `<Image value="$image"/>`.
/// None when the config has no `Image` tag that takes a variable.
pub fn image_field(config_xml: &str) -> Option<String> {
    let document = roxmltree::Document::parse(config_xml).ok()?;
    document
        .descendants()
        .filter(|node| node.has_tag_name("Image"))
        .find_map(|node| node.attribute("value")?.strip_prefix('$'))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_told_by_extension() {
        for key in ["a.png", "images/cats/001.JPG", "x/y.tar.webp"] {
            assert!(is_image(key), "{key}");
        }
        for key in ["", "images/", "images/.png", "notes.txt", "png", "images.png/readme"] {
            assert!(!is_image(key), "{key}");
        }
    }

    #[test]
    fn the_image_variable_is_found() {
        let config = r#"<View><Header value="$title"/><Image name="i" value="$photo"/></View>"#;
        assert_eq!(image_field(config).as_deref(), Some("photo"));
        assert_eq!(image_field("<View><Text name='t' value='$text'/></View>"), None);
        assert_eq!(image_field("<View"), None);
    }
}
