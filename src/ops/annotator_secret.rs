//! The door for Label Studio instances: each annotator's secret opens only their own.

use sqlx::PgConnection;

use crate::{
    domain::{AnnotatorId, Secrets},
    ops::{Error, Result},
    store,
};

/// Fails with `Unauthorized`, in the same words for an annotator that is not there and a secret that is wrong.
pub async fn check(
    db: &mut PgConnection,
    secrets: &Secrets,
    annotator: AnnotatorId,
    shown: &str,
) -> Result<()> {
    let version = store::annotator_secrets::version(db, annotator).await?;
    // An annotator that is not there takes as long to refuse as one that is.
    let matches = secrets.webhook_matches(annotator, version.unwrap_or(0), shown);
    if version.is_some() && matches {
        return Ok(());
    }
    Err(Error::Unauthorized("X-Webhook-Secret is not the secret of this annotator"))
}
