//! An S3 endpoint of a test's own, over a folder of its own.

use std::path::PathBuf;

use labelfleet::{
    config::{S3Config, Secret},
    s3::S3,
    up::s3::{S3Options, S3Server},
};

pub struct Storage {
    pub s3: S3,
    config: S3Config,
    dir: tempfile::TempDir,
    _server: S3Server,
}

impl Storage {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = S3Server::start(S3Options {
            dir: dir.path().to_owned(),
            port: 0,
            bucket: "fleet".into(),
            access_key_id: "test".into(),
            secret_access_key: Secret::new("test-secret"),
        })
        .await
        .unwrap();
        let config = server.config().clone();
        Self { s3: S3::new(&config), config, dir, _server: server }
    }

    /// The settings that lead here.
    pub fn settings(&self) -> Vec<(String, String)> {
        let endpoint = self.config.endpoint.as_deref().unwrap_or_default();
        [
            ("S3_ENDPOINT", endpoint),
            ("S3_BUCKET", &self.config.bucket),
            ("AWS_ACCESS_KEY_ID", self.config.access_key_id.expose()),
            ("AWS_SECRET_ACCESS_KEY", self.config.secret_access_key.expose()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// Where an object or a prefix lies as a file or a folder: the quick way to put many.
    pub fn path(&self, key: &str) -> PathBuf {
        self.dir.path().join(&self.config.bucket).join(key)
    }

    pub async fn get(&self, key: &str) -> Vec<u8> {
        let object = self.s3.client.get_object().bucket(&self.s3.bucket).key(key).send().await.unwrap();
        object.body.collect().await.unwrap().to_vec()
    }

    pub async fn put(&self, key: &str, body: Vec<u8>) {
        let put = self.s3.client.put_object().bucket(&self.s3.bucket).key(key).body(body.into());
        put.send().await.unwrap();
    }
}
