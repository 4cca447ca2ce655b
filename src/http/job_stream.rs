//! `GET /api/jobs/stream`: what becomes of jobs, as server-sent events.
//!
//! A listener's look is [`watch`]'s, about twice a second and only while somebody listens. What listeners may cost is
//! bounded: so many are served at once, and two of them look at a time. A stream ends with the server, after
//! [`LONGEST`], so that whoever lost their session or key does not listen on, and with its client.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{FromRequestParts, State},
    http::request::Parts,
    response::{
        IntoResponse,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::{FutureExt, StreamExt, future, stream};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState,
    error::{ApiError, ApiResult, BadRequest, NotFound, TooManyStreams, chain},
    job_filter::JobQuery,
    page::both,
};
use crate::{
    domain::check::Checks,
    ops::{self, Error, parse},
    queue::{
        JobId,
        admin::{
            JobDetail,
            watch::{self, Follow, Seen, Watch},
        },
    },
};

/// Streams served at once by one process.
const MOST: usize = 32;
/// When to try again if there are more.
const RETRY_AFTER_SECS: u64 = 10;
/// Listeners that look into Postgres at once.
const LOOKING: usize = 2;
/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between looks while Postgres is away.
const STALLED: Duration = Duration::from_secs(1);
/// A client that still listens comes back by itself.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// When it comes back.
const COMES_BACK: Duration = Duration::from_secs(2);
/// How often a stream that has nothing to tell shows that it lives.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(stream_jobs))
}

/// What all streams of a process share.
#[derive(Debug, Clone)]
pub struct Streams {
    open: Arc<Semaphore>,
    looking: Arc<Semaphore>,
    /// The server stops: streams end.
    pub stopping: CancellationToken,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            open: Arc::new(Semaphore::new(MOST)),
            looking: Arc::new(Semaphore::new(LOOKING)),
            stopping: CancellationToken::new(),
        }
    }
}

/// As the document tells it.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a schema")]
struct StreamParams {
    /// Follow this job, and no other: with its runs and the lines of its log. It stands alone.
    id: Option<i64>,
}

/// What a listener wants to see.
enum Subject {
    Jobs(Box<Watch>),
    Job(Follow),
}

impl<S: Send + Sync> FromRequestParts<S> for Subject {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        #[derive(Deserialize)]
        struct Given {
            id: Option<i64>,
        }
        let query = parts.uri.query().unwrap_or_default();
        let rest = parse::without(query, &["id"]);
        let filter = parse::urlencoded(rest.as_bytes()).and_then(JobQuery::checked);
        let (Given { id }, filter) = both(parse::urlencoded(query.as_bytes()), filter)?;
        let mut checks = Checks::default();
        checks.require("id", id.is_none() || rest.is_empty(), "stands alone, without a filter");
        checks.done().map_err(Error::Invalid)?;
        Ok(match id {
            Some(id) => Self::Job(Follow::new(JobId(id))),
            None => Self::Jobs(Box::new(Watch::new(filter))),
        })
    }
}

/// Watch jobs.
///
/// Server-sent events, for as long as the client listens, up to 15 minutes; `EventSource` then comes back by itself and begins
/// with the present state again, as after any interruption. `id` counts the events of a stream.
///
/// | event | data |
/// | --- | --- |
/// | `job` | a job as `GET /api/jobs` has it: first the newest 100 that match, then each that is new or has changed, and once more when its state is not asked for any longer. With the parameter `id`: as `GET /api/jobs/{id}` has it, `log` with the lines that are new |
/// | `ready` | `{}`: the present state is told, what follows are changes |
/// | `removed` | `{"id"}`: the job is gone; with the parameter `id` the stream ends |
/// | `skipped` | `{"count"}`: so many other jobs changed since the last look, more than are shown |
/// | `stalled`, `resumed` | `{}`: the database does not answer; it does again, and what has changed meanwhile follows |
///
/// The newest 5,000 jobs that the filter's states or batch leave are looked through, twice a second, and besides them up to 500
/// open ones that were shown. What was and went between two looks is not seen. A process serves 32 streams.
#[utoipa::path(get, path = "/api/jobs/stream", tag = "jobs", params(JobQuery, StreamParams),
    responses((status = 200, description = "Events", content_type = "text/event-stream", body = String),
              BadRequest, NotFound, TooManyStreams))]
async fn stream_jobs(State(state): State<AppState>, subject: Subject) -> ApiResult<impl IntoResponse> {
    let Ok(place) = Arc::clone(&state.streams.open).try_acquire_owned() else {
        let message = format!("{MOST} streams are open here, as many as are served at once");
        return Err(ApiError::unavailable(message, RETRY_AFTER_SECS));
    };
    let stopping = state.streams.stopping.clone();
    let mut listener = Listener { state, subject, told: 0, is_stalled: false, pause: STALLED, _place: place };
    // What is wrong at first is told as it is everywhere.
    let present = listener.look().await?;
    let mut first = vec![Event::default().retry(COMES_BACK)];
    listener.tell(present, &mut first);
    first.push(listener.event("ready", &json!({})));
    let further = stream::unfold(Some(listener), async |listener| Some(listener?.next().await));
    let events = stream::once(future::ready(first)).chain(further).flat_map(stream::iter);
    let end = async move { drop(timeout(LONGEST, stopping.cancelled()).await) };
    let events = events.map(Ok::<_, Infallible>).take_until(end.boxed());
    // Proxies that gather answers would hold events back.
    Ok(([("x-accel-buffering", "no")], Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE_EVERY))))
}

struct Listener {
    state: AppState,
    subject: Subject,
    told: u64,
    is_stalled: bool,
    pause: Duration,
    _place: OwnedSemaphorePermit,
}

/// What a look found.
enum News {
    Jobs(Seen),
    Job(Option<Box<JobDetail>>),
}

impl Listener {
    /// What is told next, and who listens on: nobody once the one job is gone.
    async fn next(mut self) -> (Vec<Event>, Option<Self>) {
        let mut events = Vec::new();
        while events.is_empty() {
            sleep(self.pause).await;
            match self.look().await {
                Ok(news) => {
                    if std::mem::take(&mut self.is_stalled) {
                        events.push(self.event("resumed", &json!({})));
                    }
                    self.tell(news, &mut events);
                }
                Err(Error::NotFound(_)) => {
                    if let Subject::Job(follow) = &self.subject {
                        let gone = json!({ "id": follow.id() });
                        events.push(self.event("removed", &gone));
                    }
                    return (events, None);
                }
                Err(error) => {
                    self.pause = STALLED;
                    if !std::mem::replace(&mut self.is_stalled, true) {
                        tracing::warn!(error = chain(&error), "a stream of jobs can't look, and tries on");
                        events.push(self.event("stalled", &json!({})));
                    }
                }
            }
        }
        (events, Some(self))
    }

    async fn look(&mut self) -> ops::Result<News> {
        // Nobody closes it.
        let _turn = self.state.streams.looking.acquire().await;
        let (queue, begun) = (&self.state.queue, Instant::now());
        let look = async {
            match &mut self.subject {
                Subject::Jobs(watch) => Ok(News::Jobs(watch.look(queue).await?)),
                Subject::Job(follow) => Ok(News::Job(follow.look(queue).await?.map(Box::new))),
            }
        };
        let news = timeout(PATIENCE, look).await;
        self.pause = watch::pause(begun.elapsed());
        news.unwrap_or_else(|_| Err(Error::Unavailable(format!("the database took more than {PATIENCE:?}"))))
    }

    fn tell(&mut self, news: News, events: &mut Vec<Event>) {
        match news {
            News::Jobs(Seen { jobs, removed, skipped }) => {
                events.extend(jobs.iter().map(|job| self.event("job", job)));
                events.extend(removed.iter().map(|id| self.event("removed", &json!({ "id": id }))));
                if skipped > 0 {
                    events.push(self.event("skipped", &json!({ "count": skipped })));
                }
            }
            News::Job(detail) => events.extend(detail.map(|detail| self.event("job", &*detail))),
        }
    }

    fn event(&mut self, name: &str, data: &impl Serialize) -> Event {
        self.told += 1;
        let event = Event::default().event(name).id(self.told.to_string());
        // All that is told is made of what JSON has.
        event.json_data(data).unwrap_or_default()
    }
}
