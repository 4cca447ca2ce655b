//! The cookie login, as NextAuth's clients know it.
//!
//! The CSRF token is submitted twice, as a form field and as a cookie, and only we can have made it. A client
//! that keeps no cookie before it has a session (curl with `-c` alone) may do without the cookie, unless it is
//! a browser: browsers say so on every POST (`Origin`, `Sec-Fetch-Site`), and only they can be made to send
//! somebody else's form.

use axum::{
    extract::State,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{COOKIE, LOCATION, ORIGIN, SET_COOKIE},
    },
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    AppState,
    error::{ApiResult, BadRequest, TooMany, Unauthorized},
    extract::{Form, Json},
};
use crate::{
    domain::time,
    ops::{self, Error},
};

/// The cookie of a session; behind https it carries the prefix `__Secure-`.
pub const SESSION_COOKIE: &str = "next-auth.session-token";
/// The cookie of the CSRF token; behind https it carries the prefix `__Host-`.
pub const CSRF_COOKIE: &str = "next-auth.csrf-token";

/// Where a login leads by default: to what says who is logged in.
const HOME: &str = "/api/auth/session";

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CsrfToken {
    csrf_token: String,
}

/// A token for the forms of login and logout.
#[utoipa::path(get, path = "/api/auth/csrf", tag = "auth", security(()), responses((status = 200, body = CsrfToken,
    headers(("Set-Cookie" = String, description = "The same token, to be sent along with the form")))))]
pub async fn get_csrf(State(state): State<AppState>, headers: HeaderMap) -> Response {
    let cookies = Cookies::new(&state);
    let held = cookies.csrf(&headers).filter(|token| state.secrets.csrf_token_matches(token));
    let csrf_token = held.unwrap_or_else(|| state.secrets.csrf_token(rand::random()));
    let cookie = cookies.set(&cookies.csrf_name(), &csrf_token, "");
    ([(SET_COOKIE, cookie)], Json(CsrfToken { csrf_token })).into_response()
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoginForm {
    #[schema(example = "admin@fleet.local")]
    email: String,
    password: String,
    /// From `GET /api/auth/csrf`.
    csrf_token: String,
    /// Where to go from here: a path, or a URL below the public one.
    callback_url: Option<String>,
    /// `true`: answer 200 with the URL instead of a redirect.
    json: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct NextUrl {
    url: String,
}

/// Log in.
#[utoipa::path(post, path = "/api/auth/callback/credentials", tag = "auth", security(()),
    request_body(content = LoginForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 302, description = "Logged in; the session cookie is set", headers(("Set-Cookie" = String))),
        (status = 200, description = "The same, where `json=true` was asked for", body = NextUrl),
        BadRequest, Unauthorized, TooMany))]
pub async fn log_in(
    State(state): State<AppState>,
    headers: HeaderMap,
    Form(form): Form<LoginForm>,
) -> ApiResult<Response> {
    check_csrf(&state, &headers, &form.csrf_token)?;
    let session = ops::auth::log_in(&state.queue, &form.email, form.password).await?;
    let cookies = Cookies::new(&state);
    let expires = session.expires_at.format("%a, %d %b %Y %H:%M:%S GMT");
    let cookie = cookies.set(&cookies.session_name(), &session.token, &format!("; Expires={expires}"));
    Ok(leave(&state, form.callback_url.as_deref(), form.json.as_deref(), cookie))
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogoutForm {
    /// From `GET /api/auth/csrf`.
    csrf_token: String,
    callback_url: Option<String>,
    json: Option<String>,
}

/// Log out: the session ends here, not only in the browser.
#[utoipa::path(post, path = "/api/auth/signout", tag = "auth", security(()),
    request_body(content = LogoutForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 302, description = "Logged out; the session cookie is removed"),
        (status = 200, description = "The same, where `json=true` was asked for", body = NextUrl),
        BadRequest))]
pub async fn log_out(
    State(state): State<AppState>,
    headers: HeaderMap,
    Form(form): Form<LogoutForm>,
) -> ApiResult<Response> {
    check_csrf(&state, &headers, &form.csrf_token)?;
    let cookies = Cookies::new(&state);
    if let Some(token) = cookies.session(&headers) {
        ops::auth::log_out(&state.queue, &token).await?;
    }
    let cookie = cookies.set(&cookies.session_name(), "", "; Max-Age=0");
    Ok(leave(&state, form.callback_url.as_deref(), form.json.as_deref(), cookie))
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SessionInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<SessionInfoUser>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "time::optional_millis")]
    expires: Option<DateTime<Utc>>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SessionInfoUser {
    email: String,
    role: &'static str,
}

/// Who is logged in; an empty object if nobody is.
#[utoipa::path(get, path = "/api/auth/session", tag = "auth", security(()),
    responses((status = 200, body = SessionInfo)))]
pub async fn get_session(State(state): State<AppState>, headers: HeaderMap) -> ApiResult<Json<SessionInfo>> {
    let session = match Cookies::new(&state).session(&headers) {
        Some(token) => ops::auth::session(&state.queue, &token).await?,
        None => None,
    };
    Ok(Json(SessionInfo {
        expires: session.as_ref().map(|session| session.expires_at),
        user: session.map(|user| SessionInfoUser { email: user.email, role: user.role.as_str() }),
    }))
}

fn check_csrf(state: &AppState, headers: &HeaderMap, shown: &str) -> Result<(), Error> {
    let held = match Cookies::new(state).csrf(headers) {
        Some(cookie) => cookie == shown,
        None => !headers.contains_key(ORIGIN) && !headers.contains_key("sec-fetch-site"),
    };
    if held && state.secrets.csrf_token_matches(shown) {
        return Ok(());
    }
    Err(Error::invalid("csrfToken", "is not valid: get one from /api/auth/csrf and send its cookie along"))
}

/// Answers as NextAuth does: a redirect, or its URL as JSON for a client that asks for it.
fn leave(state: &AppState, callback: Option<&str>, json: Option<&str>, cookie: HeaderValue) -> Response {
    let target = callback.filter(|url| is_ours(&state.config.public_url, url)).unwrap_or(HOME);
    if json == Some("true") {
        return ([(SET_COOKIE, cookie)], Json(NextUrl { url: target.to_owned() })).into_response();
    }
    let location = HeaderValue::from_str(target).unwrap_or(HeaderValue::from_static(HOME));
    (StatusCode::FOUND, [(SET_COOKIE, cookie), (LOCATION, location)]).into_response()
}

/// Whether a redirect stays with us: browsers take `//host` and `/\host` for other sites.
fn is_ours(public_url: &str, url: &str) -> bool {
    let path = url.strip_prefix(public_url).unwrap_or(url);
    url == public_url || (path.starts_with('/') && !path.starts_with("//") && !path.contains('\\'))
}

/// The cookies' names and attributes, which depend on whether people reach us by https.
pub(super) struct Cookies {
    secure: bool,
}

impl Cookies {
    pub(super) fn new(state: &AppState) -> Self {
        Self { secure: state.config.public_url.starts_with("https://") }
    }

    fn session_name(&self) -> String {
        if self.secure { format!("__Secure-{SESSION_COOKIE}") } else { SESSION_COOKIE.to_owned() }
    }

    fn csrf_name(&self) -> String {
        if self.secure { format!("__Host-{CSRF_COOKIE}") } else { CSRF_COOKIE.to_owned() }
    }

    pub(super) fn session(&self, headers: &HeaderMap) -> Option<String> {
        cookie(headers, &self.session_name())
    }

    fn csrf(&self, headers: &HeaderMap) -> Option<String> {
        cookie(headers, &self.csrf_name())
    }

    /// `value` and `attributes` are ours: hexadecimal digits and dates.
    fn set(&self, name: &str, value: &str, attributes: &str) -> HeaderValue {
        let secure = if self.secure { "; Secure" } else { "" };
        let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{attributes}");
        HeaderValue::try_from(cookie).expect("visible ASCII")
    }
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, value)| *key == name && !value.is_empty())
        .map(|(_, value)| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_with_us() {
        let ours = "https://fleet.example";
        for url in ["/", "/workflows?x=1", "https://fleet.example", "https://fleet.example/a"] {
            assert!(is_ours(ours, url), "{url}");
        }
        for url in
            ["//evil.example", "/\\evil.example", "https://evil.example", "https://fleet.example.evil", "x"]
        {
            assert!(!is_ours(ours, url), "{url}");
        }
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1; next-auth.csrf-token=; b=2"));
        headers.append(COOKIE, HeaderValue::from_static("next-auth.csrf-token=t"));
        assert_eq!(cookie(&headers, CSRF_COOKIE).as_deref(), Some("t"));
        assert_eq!(cookie(&headers, "b").as_deref(), Some("2"));
        assert_eq!(cookie(&headers, "c"), None);
    }
}
