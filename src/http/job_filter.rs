//! Which jobs a caller means: in the query of a list and in the body of a call that changes many. Each field is told once;
//! states are written in the way of either.

use chrono::{DateTime, Datelike, Utc};
use serde::{Deserialize, Deserializer, de::Error as _};
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::check::Checks,
    ops::{Error, Result},
    queue::{
        BatchId,
        admin::{JobFilter, JobState},
    },
};

/// As a query has it.
pub type JobQuery = Selection<Commas>;

/// As a body has it.
pub type JobSelection = Selection<Vec<JobState>>;

/// Which jobs are meant: all that is given must hold. To change them, at least one of `state`, `kind`, `queue`, `batch` and
/// `text` is needed. A field that is none of these is refused, so that a slip of the pen doesn't mean more than was thought.
#[derive(Debug, Deserialize, IntoParams, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
#[schema(as = JobSelection)]
pub struct Selection<S: Default + ToSchema> {
    #[serde(default, deserialize_with = "name")]
    #[param(min_length = 1, max_length = 100)]
    #[schema(min_length = 1, max_length = 100)]
    kind: Option<String>,
    #[serde(default, deserialize_with = "name")]
    #[param(min_length = 1, max_length = 100)]
    #[schema(min_length = 1, max_length = 100)]
    queue: Option<String>,
    /// Any of them. In a query with commas between them; to change jobs final ones only.
    #[serde(default)]
    #[param(value_type = Option<Vec<JobState>>, style = Form, explode = false, inline)]
    #[schema(value_type = Vec<JobState>, inline)]
    state: S,
    /// The jobs of this batch.
    batch: Option<i64>,
    #[serde(default, deserialize_with = "year")]
    created_from: Option<DateTime<Utc>>,
    /// Exclusive.
    #[serde(default, deserialize_with = "year")]
    created_to: Option<DateTime<Utc>>,
    /// In the arguments or the last error, in any case.
    #[serde(default, deserialize_with = "text")]
    #[param(min_length = 1, max_length = 200)]
    #[schema(min_length = 1, max_length = 200)]
    text: Option<String>,
}

/// States with commas between them.
#[derive(Debug, Default, ToSchema)]
pub struct Commas(Vec<JobState>);

impl<'de> Deserialize<'de> for Commas {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let states = text.split(',').map(|state| state.parse().map_err(D::Error::custom));
        states.collect::<Result<_, _>>().map(Self)
    }
}

impl From<Commas> for Vec<JobState> {
    fn from(Commas(states): Commas) -> Self {
        states
    }
}

impl<S: Default + ToSchema + Into<Vec<JobState>>> Selection<S> {
    fn filter(self) -> JobFilter {
        let Self { kind, queue, state, batch, created_from, created_to, text } = self;
        let (states, batch) = (state.into(), batch.map(BatchId));
        JobFilter { states, kind, queue, batch, created_from, created_to, text }
    }

    /// To look at jobs.
    pub fn checked(self) -> Result<JobFilter> {
        let filter = self.filter();
        let mut checks = Checks::default();
        check_times(&mut checks, &filter);
        checks.done().map_err(Error::Invalid)?;
        Ok(filter)
    }

    /// To change jobs of these states.
    pub fn among(self, states: &[JobState]) -> Result<JobFilter> {
        let filter = self.filter();
        let mut checks = Checks::default();
        for (place, state) in filter.states.iter().enumerate() {
            let wanted = states.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(", ");
            checks.require(
                &format!("state[{place}]"),
                states.contains(state),
                format!("must be one of: {wanted}"),
            );
        }
        checks.require("", filter.is_narrow(), "give at least one of state, kind, queue, batch and text");
        check_times(&mut checks, &filter);
        checks.done().map_err(Error::Invalid)?;
        Ok(filter)
    }
}

fn check_times(checks: &mut Checks, filter: &JobFilter) {
    let in_order = filter.created_from.zip(filter.created_to).is_none_or(|(from, to)| from < to);
    checks.require("createdTo", in_order, "must be later than createdFrom");
}

/// The name of a kind or a queue.
fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    short(deserializer, 100)
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    short(deserializer, 200)
}

fn short<'de, D: Deserializer<'de>>(deserializer: D, most: usize) -> Result<Option<String>, D::Error> {
    let given = Option::<String>::deserialize(deserializer)?;
    let mut checks = Checks::default();
    checks.optional_text("", given.as_deref(), 1..=most);
    match checks.done() {
        Ok(()) => Ok(given),
        Err(issues) => Err(D::Error::custom(
            issues.into_iter().map(|issue| issue.message).collect::<Vec<_>>().join(", "),
        )),
    }
}

/// A time that Postgres can hold.
fn year<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    let given = Option::<DateTime<Utc>>::deserialize(deserializer)?;
    match given {
        Some(at) if !(1..=9999).contains(&at.year()) => {
            Err(D::Error::custom("must be of the years 1 to 9999"))
        }
        _ => Ok(given),
    }
}
