//! A whole fleet in one process but for Postgres: the API on a port, S3, the jobs, and instances that are simulated.

use std::sync::Arc;

use labelfleet::{
    domain::{AnnotatorId, AssignmentId, RoleId, WorkflowId},
    http::{self, AppState},
    ops::{
        self,
        assign::assign,
        jobs::{InjectGold, PublishAssignment},
    },
};
use sqlx::PgPool;
use tokio::net::TcpListener;

use super::{
    api::{ADMIN_EMAIL, ADMIN_PASSWORD, Api, SECRET_KEY},
    factory,
    fleet::Fleet,
    label_studio::{LabelStudio, Simulator},
    storage::Storage,
};

pub struct Simulation {
    pub fleet: Fleet,
    pub simulator: Arc<Simulator>,
    pub storage: Storage,
    /// Logged in as the administrator.
    pub api: Api,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Simulation {
    pub async fn start() -> Self {
        Self::with([]).await
    }

    /// With settings beyond those that it needs.
    pub async fn with(more: impl IntoIterator<Item = (String, String)>) -> Self {
        let storage = Storage::start().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let simulator = Arc::new(Simulator::default());
        let mut settings = storage.settings();
        settings.push(("PUBLIC_URL".into(), url.clone()));
        settings.push(("SECRET_KEY".into(), SECRET_KEY.into()));
        settings.extend(more);
        let fleet = Fleet::simulated(settings, simulator.clone()).await;
        let state = AppState::new(fleet.deps.config.clone(), fleet.deps.queue.clone());
        let server = tokio::spawn(http::serve(listener, state, std::future::pending()));
        let password = ADMIN_PASSWORD.to_owned().into();
        ops::auth::ensure_admin(&fleet.deps.queue, ADMIN_EMAIL, &password).await.unwrap();
        let api = Api::at(&url);
        api.log_in(ADMIN_EMAIL, ADMIN_PASSWORD).await.expect(200);
        Self { fleet, simulator, storage, api, server }
    }

    pub fn pool(&self) -> &PgPool {
        &self.fleet.database.pool
    }

    /// A workflow with so many images, in batches of `batch`.
    pub async fn workflow(&self, batch: i32, images: i32) -> (WorkflowId, RoleId) {
        let new = factory::Workflow { batch, ..factory::Workflow::new(self.pool()).await };
        let id = new.create(self.pool()).await;
        factory::tasks(self.pool(), id, images).await;
        (id, new.role)
    }

    /// An active annotator with a simulated instance.
    pub async fn annotator(&self, role: RoleId) -> (AnnotatorId, Arc<LabelStudio>) {
        self.simulator.annotator(self.pool(), role).await
    }

    /// A batch of the workflow in the annotator's Label Studio.
    pub async fn published(&self, workflow: WorkflowId, annotator: AnnotatorId) -> AssignmentId {
        let assignment_id = assign(&self.fleet.deps.queue, workflow, annotator).await.unwrap();
        self.fleet.run(InjectGold { assignment_id }).await.unwrap();
        self.fleet.run(PublishAssignment { assignment_id }).await.unwrap();
        assignment_id
    }

    /// Status and count of what is done.
    pub async fn progress(&self, assignment: AssignmentId) -> (String, i32) {
        sqlx::query_as("SELECT status, done_count FROM assignments WHERE id = $1")
            .bind(assignment)
            .fetch_one(self.pool())
            .await
            .unwrap()
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        self.server.abort();
    }
}
