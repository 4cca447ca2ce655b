//! `limit` and `offset` in, the pagination envelope out: the same for every list.

use axum::{extract::FromRequestParts, http::request::Parts};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::{IntoParams, ToSchema};

use super::error::{ApiError, ApiResult};
use crate::{
    domain::check::Checks,
    ops::{self, Error, parse},
    store::{Page, Slice},
};

const MAX_LIMIT: i64 = 500;
const DEFAULT_LIMIT: i64 = 100;

/// As the document tells them.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a schema")]
pub struct PageParams {
    /// Results per page.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<i64>,
    /// Number of results to skip.
    #[param(minimum = 0, default = 0)]
    offset: Option<i64>,
}

/// The query of a list that can be filtered: filter and page are read together, so that every bad parameter is
/// told at once.
#[derive(Debug)]
pub struct Listing<F> {
    pub filter: F,
    pub page: Page,
}

impl<F: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Listing<F> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        let (filter, page) = both(parse::urlencoded(query), page(query))?;
        Ok(Self { filter, page })
    }
}

/// The query of a list without filters.
impl<S: Send + Sync> FromRequestParts<S> for Page {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        Ok(page(parts.uri.query().unwrap_or_default().as_bytes())?)
    }
}

fn page(query: &[u8]) -> ops::Result<Page> {
    #[derive(Deserialize)]
    struct Given {
        limit: Option<String>,
        offset: Option<String>,
    }
    let given: Given = parse::urlencoded(query)?;
    let number = |text: Option<String>, default| text.map_or(Ok(default), |text| text.parse::<i64>());
    let (limit, offset) = (number(given.limit, DEFAULT_LIMIT), number(given.offset, 0));
    let mut checks = Checks::default();
    let is_limit = limit.as_ref().is_ok_and(|limit| (1..=MAX_LIMIT).contains(limit));
    checks.require("limit", is_limit, format!("must be a whole number from 1 to {MAX_LIMIT}"));
    let is_offset = offset.as_ref().is_ok_and(|offset| *offset >= 0);
    checks.require("offset", is_offset, "must be a whole number, 0 or more");
    checks.done().map_err(Error::Invalid)?;
    Ok(Page { limit: limit.unwrap_or(DEFAULT_LIMIT), offset: offset.unwrap_or_default() })
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Paginated<T> {
    pub data: Vec<T>,
    pub pagination: Pagination,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pagination {
    /// On all pages.
    pub total: i64,
    pub limit: i64,
    pub offset: i64,
    pub has_more: bool,
}

impl<T> Paginated<T> {
    pub fn new(page: Page, slice: Slice<T>) -> Self {
        let shown = i64::try_from(slice.rows.len()).unwrap_or(i64::MAX);
        let pagination = Pagination {
            total: slice.total,
            limit: page.limit,
            offset: page.offset,
            has_more: page.offset.saturating_add(shown) < slice.total && shown > 0,
        };
        Self { data: slice.rows, pagination }
    }
}

/// As the document tells them.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a schema")]
pub struct KeysetParams {
    /// Results per page.
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: Option<i64>,
    /// Only what has a lower id: `nextBefore` of the page before.
    #[param(minimum = 1)]
    before: Option<i64>,
}

/// The query of a list whose pages go by id: all that is bad is told at once. The filter gets what is not of the page.
#[derive(Debug)]
pub struct Keyset<F> {
    pub filter: F,
    pub before: Option<i64>,
    pub limit: i64,
}

impl<F: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Keyset<F> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        let query = parts.uri.query().unwrap_or_default();
        let rest = parse::without(query, &["limit", "before"]);
        let (filter, (before, limit)) = both(parse::urlencoded(rest.as_bytes()), keyset(query.as_bytes()))?;
        Ok(Self { filter, before, limit })
    }
}

/// Both, or what is wrong with either.
pub fn both<A, B>(one: ops::Result<A>, other: ops::Result<B>) -> ops::Result<(A, B)> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(Error::Invalid(mut issues)), Err(Error::Invalid(more))) => {
            issues.extend(more);
            Err(Error::Invalid(issues))
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

const DEFAULT_KEYSET_LIMIT: i64 = 50;

fn keyset(query: &[u8]) -> ops::Result<(Option<i64>, i64)> {
    #[derive(Deserialize)]
    struct Given {
        limit: Option<String>,
        before: Option<String>,
    }
    let given: Given = parse::urlencoded(query)?;
    let limit = given.limit.map_or(Ok(DEFAULT_KEYSET_LIMIT), |text| text.parse::<i64>());
    let before = given.before.map(|text| text.parse::<i64>()).transpose();
    let mut checks = Checks::default();
    let is_limit = limit.as_ref().is_ok_and(|limit| (1..=MAX_LIMIT).contains(limit));
    checks.require("limit", is_limit, format!("must be a whole number from 1 to {MAX_LIMIT}"));
    let is_before = before.as_ref().is_ok_and(|before| before.is_none_or(|before| before >= 1));
    checks.require("before", is_before, "must be a whole number, 1 or more");
    checks.done().map_err(Error::Invalid)?;
    Ok((before.unwrap_or_default(), limit.unwrap_or(DEFAULT_KEYSET_LIMIT)))
}
