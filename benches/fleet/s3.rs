//! A bucket that lists as Amazon's does, a page at the price of a page, and holds nothing: what a listing then costs
//! is our own. (The embedded endpoint walks all its files for each page; it is measured beside.)

use std::{collections::BTreeMap, fmt::Write, net::Ipv4Addr};

use axum::{
    Router,
    extract::{Path, Query, State},
    http::header::CONTENT_TYPE,
    response::IntoResponse,
    routing::get,
};
use tokio::{net::TcpListener, task::JoinHandle};

/// Ends when it is dropped.
pub struct Bucket {
    pub endpoint: String,
    task: JoinHandle<()>,
}

impl Bucket {
    /// With `images/00000000.jpg` and so on, `count` in all.
    pub async fn serve(count: usize) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let router =
            Router::new().route("/{bucket}", get(page)).route("/{bucket}/", get(page)).with_state(count);
        let task = tokio::spawn(async move {
            // It ends with the task only.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { endpoint, task })
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn key(number: usize) -> String {
    format!("images/{number:08}.jpg")
}

/// `ListObjectsV2`, as far as a listing of one prefix needs it.
async fn page(
    State(count): State<usize>,
    Path(bucket): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> impl IntoResponse {
    let number = |key: &String| key.trim_start_matches("images/").trim_end_matches(".jpg").parse::<usize>();
    let after = query.get("start-after").or(query.get("continuation-token"));
    let first = after.and_then(|key| number(key).ok()).map_or(0, |last| last + 1);
    let most = query.get("max-keys").and_then(|most| most.parse().ok()).unwrap_or(1000);
    let end = count.min(first + most);
    let mut xml = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>{bucket}</Name><Prefix>images/</Prefix><KeyCount>{}</KeyCount><MaxKeys>{most}</MaxKeys><IsTruncated>{}</IsTruncated>"#,
        end.saturating_sub(first),
        end < count
    );
    for number in first..end {
        // Writing to a String can't fail.
        let _ = write!(
            xml,
            r#"<Contents><Key>{}</Key><LastModified>2026-04-06T12:00:00.000Z</LastModified><ETag>"d41d8cd98f00b204e9800998ecf8427e"</ETag><Size>250000</Size><StorageClass>STANDARD</StorageClass></Contents>"#,
            key(number)
        );
    }
    if end < count {
        let _ = write!(xml, "<NextContinuationToken>{}</NextContinuationToken>", key(end.saturating_sub(1)));
    }
    xml.push_str("</ListBucketResult>");
    ([(CONTENT_TYPE, "application/xml")], xml)
}
