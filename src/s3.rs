//! The one way to S3: `aws-sdk-s3` with the fleet's endpoint and credentials, path style.

use aws_credential_types::Credentials;
use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Region},
};

use crate::config::S3Config;

/// A client and the bucket that everything of the fleet lies in.
#[derive(Clone, Debug)]
pub struct S3 {
    pub client: Client,
    pub bucket: String,
}

impl S3 {
    pub fn new(config: &S3Config) -> Self {
        let credentials =
            Credentials::from_keys(config.access_key_id.expose(), config.secret_access_key.expose(), None);
        let mut builder = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(config.region.clone()))
            .credentials_provider(credentials)
            .force_path_style(true);
        if let Some(endpoint) = &config.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        Self { client: Client::from_conf(builder.build()), bucket: config.bucket.clone() }
    }
}
