//! The embedded S3 endpoint, by the client that everything of the fleet uses.

use std::time::Duration;

use aws_sdk_s3::{
    presigning::PresigningConfig,
    primitives::ByteStream,
    types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart},
};
use labelfleet::{
    config::Secret,
    s3::S3,
    up::{S3Options, S3Server},
};

async fn endpoint(dir: &std::path::Path) -> (S3Server, S3) {
    let server = S3Server::start(S3Options {
        dir: dir.to_owned(),
        port: 0,
        bucket: "images".into(),
        access_key_id: "key".into(),
        secret_access_key: Secret::new("secret"),
    })
    .await
    .unwrap();
    let s3 = S3::new(server.config());
    (server, s3)
}

async fn put(s3: &S3, key: &str, body: &str) {
    let body = ByteStream::from(body.as_bytes().to_vec());
    s3.client.put_object().bucket(&s3.bucket).key(key).body(body).send().await.unwrap();
}

#[tokio::test]
async fn a_presigned_get_needs_no_credentials_and_a_changed_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, s3) = endpoint(dir.path()).await;
    let request = s3.client.put_object().bucket(&s3.bucket).key("a/b c+ü.png").content_type("image/png");
    request.body(ByteStream::from_static(b"pixels")).send().await.unwrap();

    let hour = PresigningConfig::expires_in(Duration::from_secs(3600)).unwrap();
    let get = s3.client.get_object().bucket(&s3.bucket).key("a/b c+ü.png");
    let url = get.presigned(hour).await.unwrap().uri().to_owned();
    let answer = reqwest::get(&url).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "image/png");
    assert_eq!(answer.text().await.unwrap(), "pixels");

    let other = url.replace("b%20c", "b%20d");
    assert_ne!(other, url);
    assert_eq!(reqwest::get(&other).await.unwrap().status(), 403);
    let bare = url.split('?').next().unwrap();
    assert_eq!(reqwest::get(bare).await.unwrap().status(), 403);
}

#[tokio::test]
async fn a_listing_goes_on_page_by_page_in_key_order() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, s3) = endpoint(dir.path()).await;
    for key in ["p/3", "p/1", "p/10", "p/2/x", "q/1"] {
        put(&s3, key, "x").await;
    }
    let list = || s3.client.list_objects_v2().bucket(&s3.bucket).prefix("p/").max_keys(2);
    let first = list().send().await.unwrap();
    let keys = |page: &aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output| -> Vec<String> {
        page.contents().iter().filter_map(|object| object.key().map(str::to_owned)).collect()
    };
    assert_eq!(keys(&first), ["p/1", "p/10"]);
    assert_eq!((first.is_truncated(), first.contents()[0].size()), (Some(true), Some(1)));

    let token = first.next_continuation_token().unwrap();
    let second = list().continuation_token(token).send().await.unwrap();
    assert_eq!(keys(&second), ["p/2/x", "p/3"]);
    assert_eq!((second.is_truncated(), second.next_continuation_token()), (Some(false), None));

    let after = list().start_after("p/10").send().await.unwrap();
    assert_eq!(keys(&after), ["p/2/x", "p/3"]);
    let nothing = s3.client.list_objects_v2().bucket(&s3.bucket).prefix("none/").send().await.unwrap();
    assert!(nothing.contents().is_empty());
}

#[tokio::test]
async fn checksums_are_kept_and_wrong_ones_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, s3) = endpoint(dir.path()).await;
    let put = || s3.client.put_object().bucket(&s3.bucket).key("k").body(ByteStream::from_static(b"text"));
    let sent = put().checksum_algorithm(ChecksumAlgorithm::Sha256).send().await.unwrap();
    assert_eq!(sent.checksum_sha256(), Some("mC2ePrmW9VnmM/TRlN7zdh2Qn1o7ZH0ahR/q1nwyydE="));
    let wrong = put().checksum_sha256("n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=").send().await;
    assert!(wrong.is_err());
}

#[tokio::test]
async fn an_upload_in_parts_is_one_object() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, s3) = endpoint(dir.path()).await;
    let begun = s3.client.create_multipart_upload().bucket(&s3.bucket).key("big").send().await.unwrap();
    let upload = begun.upload_id().unwrap();
    let mut parts = CompletedMultipartUpload::builder();
    for (number, byte) in [(1, b'a'), (2, b'b')] {
        let part =
            s3.client.upload_part().bucket(&s3.bucket).key("big").upload_id(upload).part_number(number);
        let body = ByteStream::from(vec![byte; 5 * 1024 * 1024]);
        let sent = part.body(body).send().await.unwrap();
        let tag = sent.e_tag().unwrap();
        parts = parts.parts(CompletedPart::builder().part_number(number).e_tag(tag).build());
    }
    let complete = s3.client.complete_multipart_upload().bucket(&s3.bucket).key("big").upload_id(upload);
    complete.multipart_upload(parts.build()).send().await.unwrap();

    let head = s3.client.head_object().bucket(&s3.bucket).key("big").send().await.unwrap();
    assert_eq!(head.content_length(), Some(10 * 1024 * 1024));
    let range = s3.client.get_object().bucket(&s3.bucket).key("big").range("bytes=5242879-5242880");
    let bytes = range.send().await.unwrap().body.collect().await.unwrap().into_bytes();
    assert_eq!(&bytes[..], b"ab");
}

#[tokio::test]
async fn a_foreign_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (server, _s3) = endpoint(dir.path()).await;
    let mut config = server.config().clone();
    config.secret_access_key = Secret::new("guess");
    let list = S3::new(&config).client.list_objects_v2().bucket("images").send().await.unwrap_err();
    assert_eq!(list.raw_response().map(|response| response.status().as_u16()), Some(403));
}
