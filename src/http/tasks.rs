//! `/api/tasks`

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState,
    error::{ApiResult, BadRequest, NotFound},
    extract::{Id, Json},
    page::{Listing, PageParams, Paginated},
};
use crate::{
    domain::{AnnotatorId, AssignmentId, TaskId, TaskStatus, WorkflowId},
    ops::Error,
    store::{
        self,
        task_views::{Filter, Task, TaskEvent},
    },
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_tasks)).routes(routes!(get_task))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct TaskFilter {
    #[param(value_type = Option<i64>)]
    workflow_id: Option<WorkflowId>,
    #[param(inline)]
    status: Option<TaskStatus>,
    /// Who holds it.
    #[param(value_type = Option<i64>)]
    annotator_id: Option<AnnotatorId>,
    /// What holds it.
    #[param(value_type = Option<i64>)]
    assignment_id: Option<AssignmentId>,
}

/// List tasks.
///
/// The newest first.
#[utoipa::path(get, path = "/api/tasks", tag = "tasks", params(TaskFilter, PageParams),
    responses((status = 200, body = Paginated<Task>), BadRequest))]
async fn list_tasks(
    State(state): State<AppState>,
    Listing { filter, page }: Listing<TaskFilter>,
) -> ApiResult<Json<Paginated<Task>>> {
    let filter = Filter {
        workflow: filter.workflow_id,
        status: filter.status,
        annotator: filter.annotator_id,
        assignment: filter.assignment_id,
    };
    let tasks = store::task_views::list(&mut *state.db().await?, filter, page).await?;
    Ok(Json(Paginated::new(page, tasks)))
}

/// A task, where its work came from and went, and all that happened to it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TaskDetail {
    #[serde(flatten)]
    task: Task,
    source_task: Option<Task>,
    /// Tasks that go on with its work: the next in a chain, its review, its rework.
    follow_up_tasks: Vec<Task>,
    /// The oldest first.
    history: Vec<TaskEvent>,
}

/// Get a task.
///
/// With its whole history, and the jobs that did it.
#[utoipa::path(get, path = "/api/tasks/{id}", tag = "tasks", params(("id" = i64, Path)),
    responses((status = 200, body = TaskDetail), BadRequest, NotFound))]
async fn get_task(State(state): State<AppState>, Id(id): Id<TaskId>) -> ApiResult<Json<TaskDetail>> {
    let mut db = state.db().await?;
    let mut family = store::task_views::family(&mut db, id).await?.into_iter();
    let task = family.next().filter(|task| task.id == id).ok_or(Error::NotFound("Task"))?;
    let (source, follow_up_tasks) =
        family.partition::<Vec<_>, _>(|other| Some(other.id) == task.source_task_id);
    let history = store::task_views::history(&mut db, id).await?;
    Ok(Json(TaskDetail { task, source_task: source.into_iter().next(), follow_up_tasks, history }))
}
