//! The webhook by which a project's Label Studio tells us of its annotations. The annotator is an administrator there
//! and may remove or change it.

use labelfleet::store::publishing::Instance;
use serde_json::Map;

use crate::{
    Deps,
    instance::seen_from_instance,
    label_studio::{Client, NewWebhook, Result},
};

/// What we want to hear of.
const ACTIONS: &[&str] = &["ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED"];

/// The project has ours once and no other; true: it had not, and now it does.
pub async fn ensure(deps: &Deps, client: &Client, instance: &Instance, project: i64) -> Result<bool> {
    let url = seen_from_instance(&*deps.runtime, &format!("{}/api/webhook", deps.config.instances.api_url));
    let (annotator, version) = (instance.annotator_id, instance.secret_version);
    let headers = Map::from_iter([
        ("X-Annotator-Id".to_owned(), annotator.to_string().into()),
        ("X-Webhook-Secret".to_owned(), deps.secrets.webhook(annotator, version).into()),
    ]);
    let wanted = NewWebhook::new(project, &url, headers, ACTIONS);
    let mut is_there = false;
    for webhook in client.webhooks(project).await? {
        if wanted.is(&webhook) && !is_there {
            is_there = true;
        } else {
            client.delete_webhook(webhook.id).await?;
        }
    }
    if !is_there {
        client.create_webhook(&wanted).await?;
    }
    Ok(!is_there)
}
