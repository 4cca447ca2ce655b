//! The one way to S3: `aws-sdk-s3` with the fleet's endpoint and credentials, path style. Each call is a span of its
//! trace, its retries included.

use aws_credential_types::Credentials;
use aws_sdk_s3::{
    Client,
    config::{
        BehaviorVersion, ConfigBag, Intercept, Region, RuntimeComponents,
        interceptors::{BeforeSerializationInterceptorContextRef, FinalizerInterceptorContextRef},
    },
};
use aws_smithy_runtime_api::{box_error::BoxError, client::orchestrator::Metadata};
use aws_smithy_types::{
    config_bag::{Storable, StoreReplace},
    error::display::DisplayErrorContext,
};
use tracing::Span;

use crate::{config::S3Config, trace};

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
            .interceptor(Traced)
            .force_path_style(true);
        if let Some(endpoint) = &config.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        Self { client: Client::from_conf(builder.build()), bucket: config.bucket.clone() }
    }
}

#[derive(Debug)]
struct Traced;

/// Lives as long as the call.
#[derive(Debug)]
struct Call(Span);

impl Storable for Call {
    type Storer = StoreReplace<Self>;
}

impl Intercept for Traced {
    fn name(&self) -> &'static str {
        "Traced"
    }

    /// The first place where the call's name is known.
    fn read_before_serialization(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let method = bag.load::<Metadata>().map_or("unknown", Metadata::name);
        let span = tracing::info_span!(
            target: trace::TARGET,
            "s3",
            otel.name = %format_args!("S3.{method}"),
            otel.kind = "client",
            rpc.system = "aws-api",
            rpc.service = "S3",
            rpc.method = method,
        );
        bag.interceptor_state().store_put(Call(span));
        Ok(())
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let (Some(Call(span)), Some(Err(error))) = (bag.load::<Call>(), context.output_or_error()) {
            trace::fail(span, DisplayErrorContext(error));
        }
        Ok(())
    }
}
