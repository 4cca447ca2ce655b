//! The OpenAPI document, generated from the handlers' own annotations and completed here with what holds for
//! all of them: the session, and the errors that any request may meet.

use utoipa::{
    OpenApi, ToSchema,
    openapi::{
        ContentBuilder, Ref, RefOr, ResponseBuilder,
        path::Operation,
        security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme},
    },
};

use super::{auth, error::ErrorBody};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "LabelFleet",
        description = "A fleet of Label Studio instances, one per annotator, and the operation around it.",
    ),
    components(schemas(ErrorBody))
)]
struct Base;

/// What the routers' annotations are added to.
pub fn base() -> utoipa::openapi::OpenApi {
    let mut document = Base::openapi();
    document.security = Some(vec![SecurityRequirement::new("session", Vec::<String>::new())]);
    let cookie = SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(
        auth::SESSION_COOKIE,
        "Set by `POST /api/auth/callback/credentials`. Behind https the name has the prefix `__Secure-`.",
    )));
    document.components.get_or_insert_default().add_security_scheme("session", cookie);
    document
}

/// Adds the answers that no handler names.
pub fn complete(document: &mut utoipa::openapi::OpenApi) {
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.delete, &mut item.patch];
        for operation in operations.into_iter().flatten() {
            if operation.security.is_none() {
                add(operation, "401", "The session is missing or invalid");
            }
            if operation.request_body.is_some() {
                add(operation, "413", "The body is too large");
            }
            add(operation, "500", "Our fault; the log has the cause");
            add(operation, "503", "The database can't be reached; nothing was changed");
        }
    }
}

fn add(operation: &mut Operation, status: &str, description: &str) {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(ErrorBody::name()))).build();
    let response = ResponseBuilder::new().description(description).content("application/json", content);
    operation.responses.responses.entry(status.to_owned()).or_insert_with(|| RefOr::T(response.build()));
}
