//! `limit` and `offset` in, the pagination envelope out: the same for every list.

use axum::{extract::FromRequestParts, http::request::Parts};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    error::{ApiError, ApiResult},
    extract::Query,
};
use crate::{
    ops::Error,
    store::{Page, Slice},
};

const MAX_LIMIT: i64 = 500;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageParams {
    /// Results per page.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<i64>,
    /// Number of results to skip.
    #[param(minimum = 0, default = 0)]
    offset: Option<i64>,
}

impl<S: Send + Sync> FromRequestParts<S> for Page {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        let Query(params) = Query::<PageParams>::from_request_parts(parts, state).await?;
        let (limit, offset) = (params.limit.unwrap_or(100), params.offset.unwrap_or(0));
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(Error::invalid("limit", format!("must be from 1 to {MAX_LIMIT}")).into());
        }
        if offset < 0 {
            return Err(Error::invalid("offset", "must not be negative").into());
        }
        Ok(Self { limit, offset })
    }
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
