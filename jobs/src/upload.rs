//! Writing an object of any size to S3 in bounded memory, and cleaning up after a writer that died.
//!
//! What is smaller than a part goes in one request. Anything larger is an upload in parts, which shows nothing until
//! it is completed; its id is remembered in Postgres before the first part is sent, since S3 keeps the parts of an
//! upload that nobody ends.

use anyhow::Context;
use aws_sdk_s3::{
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart},
};
use labelfleet::{
    domain::AssignmentId,
    store::exports::{self, Upload},
};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::Deps;

/// S3 takes parts from 5 MiB on and 10,000 of them: 80 GiB.
const PART: usize = 8 * 1024 * 1024;

/// An object that is being written.
pub struct Object<'a> {
    deps: &'a Deps,
    assignment: AssignmentId,
    key: String,
    content_type: &'static str,
    buffer: Vec<u8>,
    upload: Option<Upload>,
    parts: Vec<CompletedPart>,
    hash: Sha256,
    bytes: u64,
}

#[derive(Debug)]
pub struct Written {
    pub key: String,
    pub bytes: u64,
    pub sha256: String,
}

impl<'a> Object<'a> {
    /// For an export of this assignment. Nothing is sent yet.
    pub fn new(deps: &'a Deps, assignment: AssignmentId, key: String, content_type: &'static str) -> Self {
        Self {
            deps,
            assignment,
            key,
            content_type,
            buffer: Vec::new(),
            upload: None,
            parts: Vec::new(),
            hash: Sha256::new(),
            bytes: 0,
        }
    }

    /// Takes all of `bytes` and leaves it empty.
    pub async fn write(&mut self, bytes: &mut Vec<u8>) -> anyhow::Result<()> {
        self.hash.update(&bytes);
        self.bytes += bytes.len() as u64;
        self.buffer.append(bytes);
        while self.buffer.len() >= PART {
            let rest = self.buffer.split_off(PART);
            let part = std::mem::replace(&mut self.buffer, rest);
            self.send_part(part).await?;
        }
        Ok(())
    }

    /// Makes the object visible.
    pub async fn finish(mut self) -> anyhow::Result<Written> {
        let s3 = &self.deps.s3;
        if self.upload.is_some() && !self.buffer.is_empty() {
            let part = std::mem::take(&mut self.buffer);
            self.send_part(part).await?;
        }
        match self.upload.take() {
            None => {
                let put =
                    s3.client.put_object().bucket(&s3.bucket).key(&self.key).content_type(self.content_type);
                let sent = put.body(ByteStream::from(std::mem::take(&mut self.buffer))).send().await;
                sent.map_err(|error| self.failed(&error))?;
            }
            Some(upload) => {
                let parts =
                    CompletedMultipartUpload::builder().set_parts(Some(std::mem::take(&mut self.parts)));
                let complete = s3.client.complete_multipart_upload().bucket(&s3.bucket).key(&self.key);
                let sent = complete.upload_id(&upload.upload_id).multipart_upload(parts.build()).send().await;
                sent.map_err(|error| self.failed(&error))?;
                exports::forget_upload(&mut *self.deps.pool.acquire().await?, &upload.upload_id).await?;
            }
        }
        Ok(Written { key: self.key, bytes: self.bytes, sha256: hex::encode(self.hash.finalize()) })
    }

    async fn send_part(&mut self, bytes: Vec<u8>) -> anyhow::Result<()> {
        if self.upload.is_none() {
            self.upload = Some(self.begin().await?);
        }
        let upload = self.upload.as_ref().context("an upload was begun")?;
        let s3 = &self.deps.s3;
        let number = i32::try_from(self.parts.len() + 1)?;
        let part = s3.client.upload_part().bucket(&s3.bucket).key(&self.key).upload_id(&upload.upload_id);
        let sent = part.part_number(number).body(ByteStream::from(bytes)).send().await;
        let sent = sent.map_err(|error| self.failed(&error))?;
        self.parts.push(
            CompletedPart::builder()
                .part_number(number)
                .set_e_tag(sent.e_tag)
                .set_checksum_crc32(sent.checksum_crc32)
                .set_checksum_crc64_nvme(sent.checksum_crc64_nvme)
                .build(),
        );
        Ok(())
    }

    async fn begin(&self) -> anyhow::Result<Upload> {
        let s3 = &self.deps.s3;
        let create = s3.client.create_multipart_upload().bucket(&s3.bucket).key(&self.key);
        let begun =
            create.content_type(self.content_type).send().await.map_err(|error| self.failed(&error))?;
        let upload_id = begun.upload_id.context("S3 gave an upload no id")?;
        let upload = Upload { upload_id, key: self.key.clone() };
        exports::add_upload(&mut *self.deps.pool.acquire().await?, self.assignment, &upload).await?;
        Ok(upload)
    }

    fn failed<E: std::error::Error>(&self, error: &E) -> anyhow::Error {
        let cause = DisplayErrorContext(error);
        anyhow::anyhow!("writing s3://{}/{}: {cause}", self.deps.s3.bucket, self.key)
    }
}

pub const JSON: &str = "application/json";

/// As people read it.
pub fn json(value: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value).context("write JSON")?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Ends the uploads that earlier runs for this assignment left open, or those of one key. The caller holds the lock of
/// the assignment alone, or of that file, so that none of them goes on.
pub async fn abort_left(deps: &Deps, assignment: AssignmentId, key: Option<&str>) -> anyhow::Result<()> {
    let s3 = &deps.s3;
    let mut db = deps.pool.acquire().await?;
    for upload in exports::uploads(&mut db, assignment, key).await? {
        let abort = s3.client.abort_multipart_upload().bucket(&s3.bucket).key(&upload.key);
        match abort.upload_id(&upload.upload_id).send().await {
            Ok(_) => {}
            // It was completed or ended before, or we may not end it: the bucket's own lifecycle rule is left then.
            Err(SdkError::ServiceError(error)) => {
                let code = error.err().code().unwrap_or_default();
                tracing::warn!(%assignment, key = upload.key, code, "an upload could not be ended; it may be over");
            }
            Err(error) => {
                let cause = DisplayErrorContext(&error);
                anyhow::bail!("ending an upload of s3://{}/{}: {cause}", s3.bucket, upload.key);
            }
        }
        exports::forget_upload(&mut db, &upload.upload_id).await?;
    }
    Ok(())
}
