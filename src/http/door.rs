//! The door before all closed routes: who is asking, and whether they may.
//!
//! One credential check for every caller. A program shows an API key, in whichever way its client spells it;
//! a person's browser shows the cookie of a session:
//!
//! | spelling | whose habit |
//! | --- | --- |
//! | `Authorization: Token KEY` | Label Studio |
//! | `Authorization: Bearer KEY` | Roboflow, and most others |
//! | `Authorization: Basic base64(KEY:)` | Scale (`curl -u KEY:`) |
//! | `X-Avala-Api-Key: KEY` | Avala |
//! | the session's cookie | NextAuth |
//!
//! Who shows a key is held to it: a cookie beside it opens nothing.

use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, Method,
        header::{AUTHORIZATION, HOST, ORIGIN},
    },
    middleware::Next,
    response::Response,
};
use base64::{Engine, prelude::BASE64_STANDARD};

use super::{AppState, auth::Cookies, error::ApiResult};
use crate::{
    domain::{Caller, Scope},
    ops::{
        Error,
        auth::{self, Credential},
    },
};

/// What an operation needs, but for those that only administrators may do.
pub fn needed(method: &Method) -> Scope {
    if method.is_safe() { Scope::Read } else { Scope::Write }
}

/// The door of the labeling operation: reading needs `read`, all else `write`. Handlers find the [`Caller`]
/// among the request's extensions.
pub async fn operators(State(state): State<AppState>, request: Request, next: Next) -> ApiResult<Response> {
    let scope = needed(request.method());
    admit(&state, scope, request, next).await
}

/// The door of users, keys and settings.
pub async fn administrators(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> ApiResult<Response> {
    admit(&state, Scope::Admin, request, next).await
}

async fn admit(state: &AppState, needed: Scope, mut request: Request, next: Next) -> ApiResult<Response> {
    let headers = request.headers();
    let caller = match credential(state, headers) {
        Some(shown) => auth::identify(&state.queue, &shown).await?.map(|caller| (caller, shown)),
        None => None,
    };
    let Some((caller, shown)) = caller else {
        return Err(Error::Unauthorized(
            "Unauthorized: log in or show an API key first; the session or key is missing or invalid",
        )
        .into());
    };
    if matches!(shown, Credential::Session(_)) && !request.method().is_safe() && !is_same_origin(headers) {
        return Err(Error::Forbidden("a page of another site sent this request".into()).into());
    }
    if !caller.scope.opens(needed) {
        let message = format!("this needs the scope {needed}, and {} has {}", caller.name, caller.scope);
        return Err(Error::Forbidden(message).into());
    }
    request.extensions_mut().insert::<Caller>(caller);
    Ok(next.run(request).await)
}

/// What the caller shows, if anything.
fn credential(state: &AppState, headers: &HeaderMap) -> Option<Credential> {
    if let Some(key) = headers.get("x-avala-api-key") {
        return Some(Credential::Key(key.to_str().unwrap_or_default().to_owned()));
    }
    match headers.get(AUTHORIZATION) {
        Some(shown) => Some(Credential::Key(key_of(shown).unwrap_or_default())),
        None => Cookies::new(state).session(headers).map(Credential::Session),
    }
}

/// The key in an `Authorization` header. Schemes are spelled in any case (RFC 9110).
fn key_of(header: &HeaderValue) -> Option<String> {
    let (scheme, rest) = header.to_str().ok()?.trim().split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("basic") {
        let pair = String::from_utf8(BASE64_STANDARD.decode(rest).ok()?).ok()?;
        return Some(pair.split_once(':').map_or(pair.as_str(), |(user, _)| user).to_owned());
    }
    let known = ["token", "bearer"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    known.then(|| rest.to_owned())
}

/// Whether a browser says that one of our own pages sent this, or no browser sent it. The cookie's `SameSite`
/// keeps other sites out; this also keeps out the annotators' instances, which may share our site.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    match text(ORIGIN.as_str()) {
        Some(origin) => origin.split_once("://").map(|(_, host)| host) == text(HOST.as_str()),
        None => !headers.contains_key(ORIGIN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spellings_of_a_key() {
        let key = |text: &str| key_of(&HeaderValue::from_str(text).unwrap());
        for spelled in
            ["Token k", "token  k ", "Bearer k", "BEARER k", "Basic azo=", "basic aw==", "Basic azpw"]
        {
            assert_eq!(key(spelled).as_deref(), Some("k"), "{spelled}");
        }
        for other in ["k", "Digest k", "Basic ???", "Basic /w==", "", "Token"] {
            assert_eq!(key(other), None, "{other}");
        }
        assert_eq!(key_of(&HeaderValue::from_bytes(b"Token \xff").unwrap()), None);
    }

    #[test]
    fn a_browsers_own_word_on_where_a_request_comes_from() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            pairs
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect::<HeaderMap>()
        };
        let cases: [(&[_], bool); 8] = [
            (&[("host", "a.example")], true),
            (&[("host", "a.example"), ("origin", "https://a.example")], true),
            (&[("host", "a.example:8080"), ("origin", "http://a.example:8080")], true),
            (&[("host", "a.example"), ("origin", "https://ls.a.example")], false),
            (&[("host", "a.example"), ("origin", "null")], false),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "same-site")], false),
            (
                &[("sec-fetch-site", "cross-site"), ("host", "a.example"), ("origin", "https://a.example")],
                false,
            ),
        ];
        for (pairs, same) in cases {
            assert_eq!(is_same_origin(&headers(pairs)), same, "{pairs:?}");
        }
    }
}
