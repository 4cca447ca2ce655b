//! The OpenAPI document, generated from the handlers' own annotations and completed here with what holds for
//! all of them: who may, and the errors that any request may meet.

use axum::http::Method;
use utoipa::{
    OpenApi, ToSchema,
    openapi::{
        ContentBuilder, Ref, RefOr, ResponseBuilder,
        extensions::ExtensionsBuilder,
        path::{Operation, PathItem},
        security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};

use super::{auth, error::ErrorBody};
use crate::domain::Scope;

/// Says at an operation which [`Scope`] it needs. (`security` can't: scopes there are those of OAuth.)
pub const SCOPE: &str = "x-required-scope";

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
    let key = |name, description| {
        SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(name, description)))
    };
    let http = |scheme, description| {
        let mut http = Http::new(scheme);
        http.description = Some(String::from(description));
        SecurityScheme::Http(http)
    };
    let cookie = ApiKey::Cookie(ApiKeyValue::with_description(
        auth::SESSION_COOKIE,
        "Set by `POST /api/auth/callback/credentials`. Behind https the name has the prefix `__Secure-`.",
    ));
    let schemes = [
        ("session", SecurityScheme::ApiKey(cookie)),
        ("token", key("Authorization", "`Token KEY`, as Label Studio's clients spell it.")),
        ("bearer", http(HttpAuthScheme::Bearer, "An API key.")),
        ("basic", http(HttpAuthScheme::Basic, "An API key as user name; the password is not looked at.")),
        ("avala", key("X-Avala-Api-Key", "An API key, as Avala's clients spell it.")),
    ];
    document.security =
        Some(schemes.iter().map(|(name, _)| SecurityRequirement::new(*name, Vec::<String>::new())).collect());
    let components = document.components.get_or_insert_default();
    for (name, scheme) in schemes {
        components.add_security_scheme(name, scheme);
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    [
        (Method::GET, &mut item.get),
        (Method::POST, &mut item.post),
        (Method::PUT, &mut item.put),
        (Method::DELETE, &mut item.delete),
        (Method::PATCH, &mut item.patch),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// Says at each operation what its door wants.
pub fn guard(document: &mut utoipa::openapi::OpenApi, needed: impl Fn(&Method) -> Scope) {
    for (method, operation) in document.paths.paths.values_mut().flat_map(operations) {
        let scope = needed(&method);
        let extension = ExtensionsBuilder::new().add(SCOPE, scope.as_str()).build();
        operation.extensions.get_or_insert_default().merge(extension);
        add(operation, "401", "The session or key is missing or invalid");
        if scope != Scope::Read {
            add(operation, "403", "The session or key may not do this");
        }
    }
}

/// Adds the answers that no handler names.
pub fn complete(document: &mut utoipa::openapi::OpenApi) {
    for (_, operation) in document.paths.paths.values_mut().flat_map(operations) {
        if operation.request_body.is_some() {
            add(operation, "413", "The body is too large");
        }
        add(operation, "500", "Our fault; the log has the cause");
        add(operation, "503", "The database can't be reached; nothing was changed");
    }
}

fn add(operation: &mut Operation, status: &str, description: &str) {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(ErrorBody::name()))).build();
    let response = ResponseBuilder::new().description(description).content("application/json", content);
    operation.responses.responses.entry(status.to_owned()).or_insert_with(|| RefOr::T(response.build()));
}
