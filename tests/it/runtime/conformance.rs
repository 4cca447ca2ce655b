//! What every backend must do, whichever it is.

use std::time::Duration;

use labelfleet::{
    domain::{AnnotatorId, AnnotatorStatus},
    store::instances,
};
use labelfleet_jobs::{
    instance,
    label_studio::{Client, NewProject},
    runtime::{self, Instance, InstanceSpec, Runtime},
};

use crate::support::{fleet::Fleet, wait::until};

/// A Label Studio may take this long to serve when the whole suite runs beside it.
const SERVES: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn local_processes_conform() {
    conforms(Fleet::local().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_containers_conform() {
    if let Some(fleet) = Fleet::docker().await {
        conforms(fleet).await;
    }
}

/// Traefik reads from the labels under which name it serves a container.
#[tokio::test(flavor = "multi_thread")]
async fn a_router_finds_a_container_by_the_annotators_subdomain() {
    let Some(fleet) = Fleet::docker().await else { return };
    let id = fleet.annotator(AnnotatorStatus::Starting).await;
    let spec = spec(&fleet, id).await;
    let name = fleet.deps.runtime.ensure_running(&spec).await.expect("it starts").name;
    let subdomain: String = sqlx::query_scalar("SELECT subdomain FROM annotators WHERE id = $1")
        .bind(id.0)
        .fetch_one(&fleet.database.pool)
        .await
        .expect("its subdomain");
    let engine = bollard::Docker::connect_with_defaults().expect("an engine");
    let container = engine.inspect_container(&name, None).await.expect("the container");
    let labels = container.config.and_then(|config| config.labels).expect("labels");
    let rule = labels.get(&format!("traefik.http.routers.{name}.rule")).map(String::as_str);
    assert_eq!(rule, Some(format!("Host(`{subdomain}.fleet.localhost`)").as_str()));
    let port = labels.get(&format!("traefik.http.services.{name}.loadbalancer.server.port"));
    assert_eq!(port.map(String::as_str), Some("8080"));
    fleet.tear_down().await;
}

async fn conforms(fleet: Fleet) {
    let runtime = &*fleet.deps.runtime;
    let id = fleet.annotator(AnnotatorStatus::Starting).await;
    let spec = spec(&fleet, id).await;

    nothing_there_is_no_error(runtime, id).await;
    created_by_several_at_once_it_is_one(runtime, &spec).await;
    let client = serves(&fleet, id).await;
    let project = client.create_project(&NewProject::new("Kept", "<View></View>")).await.expect("a project");

    another_worker_adopts_it(&fleet, &spec).await;
    stopped_and_started_it_keeps_its_data(&fleet, &spec).await;
    let client = serves(&fleet, id).await;
    assert_eq!(client.project(project.id).await.expect("the project is kept").title, "Kept");

    only_ones_own_are_listed(&fleet, id).await;
    runtime.remove(id).await.expect("it is removed");
    nothing_there_is_no_error(runtime, id).await;
    fleet.tear_down().await;
}

async fn nothing_there_is_no_error(runtime: &dyn Runtime, id: AnnotatorId) {
    assert_eq!(runtime.get(id).await.expect("an answer"), None);
    assert_eq!(runtime.list().await.expect("a list"), []);
    runtime.stop(id).await.expect("nothing to stop");
    runtime.remove(id).await.expect("nothing to remove");
}

async fn created_by_several_at_once_it_is_one(runtime: &dyn Runtime, spec: &InstanceSpec) {
    let (one, two, three) = tokio::join!(
        runtime.ensure_running(spec),
        runtime.ensure_running(spec),
        runtime.ensure_running(spec)
    );
    for instance in [one, two, three] {
        let instance = instance.expect("each call succeeds");
        assert!(instance.running);
        assert_eq!(instance.annotator, spec.annotator);
    }
    let again = runtime.ensure_running(spec).await.expect("once more");
    let listed = runtime.list().await.expect("a list");
    assert_eq!(names(&listed), [again.name]);
}

/// Waits until the instance truly serves.
async fn serves(fleet: &Fleet, id: AnnotatorId) -> Client {
    let token = fleet.deps.secrets.label_studio_token(id, 1);
    until("the instance serves", SERVES, || async {
        let instance = fleet.deps.runtime.get(id).await.expect("an answer").expect("the instance is there");
        assert!(instance.running, "it ended: {:?}", fleet.deps.runtime.last_lines(id).await);
        let client = Client::new(&instance.address?.url(), token.as_str()).expect("an address");
        client.whoami().await.ok().map(|_| client)
    })
    .await
}

/// A new worker has nothing but the same settings.
async fn another_worker_adopts_it(fleet: &Fleet, spec: &InstanceSpec) {
    let before = fleet.deps.runtime.get(spec.annotator).await.expect("an answer");
    let other = runtime::from_config(&fleet.deps.config.instances).expect("a runtime");
    assert_eq!(other.get(spec.annotator).await.expect("an answer"), before);
    let adopted = other.ensure_running(spec).await.expect("it is adopted");
    assert_eq!(Some(adopted), before, "the same instance, at the same address");
}

async fn stopped_and_started_it_keeps_its_data(fleet: &Fleet, spec: &InstanceSpec) {
    let runtime = &*fleet.deps.runtime;
    let address = runtime.get(spec.annotator).await.expect("an answer").and_then(|there| there.address);
    let url = address.expect("it runs").url();
    runtime.stop(spec.annotator).await.expect("it stops");
    runtime.stop(spec.annotator).await.expect("stopping twice is harmless");

    let stopped = runtime.get(spec.annotator).await.expect("an answer").expect("it is still known");
    assert!(!stopped.running);
    assert_eq!(stopped.address, None);
    let client = Client::new(&url, "any").expect("an address");
    assert!(client.whoami().await.is_err_and(|error| error.is_transient()), "nobody answers at {url}");
    assert_eq!(names(&runtime.list().await.expect("a list")), [stopped.name]);

    assert!(runtime.ensure_running(spec).await.expect("it starts again").running);
}

/// Another fleet on the same engine or in the same folder.
async fn only_ones_own_are_listed(fleet: &Fleet, id: AnnotatorId) {
    let mut stranger = fleet.deps.config.instances.clone();
    stranger.fleet = "stranger".parse().expect("a fleet name");
    let stranger = runtime::from_config(&stranger).expect("a runtime");
    assert_eq!(stranger.list().await.expect("a list"), []);
    let listed = fleet.deps.runtime.list().await.expect("a list");
    assert_eq!(listed.iter().map(|instance| instance.annotator).collect::<Vec<_>>(), [id]);
}

fn names(instances: &[Instance]) -> Vec<String> {
    instances.iter().map(|instance| instance.name.clone()).collect()
}

/// What provisioning would ask for, with its database ready.
async fn spec(fleet: &Fleet, id: AnnotatorId) -> InstanceSpec {
    let database = fleet.ready_database(id).await;
    let mut db = fleet.database.pool.acquire().await.expect("a connection");
    let owner = instances::owner(&mut db, id).await.expect("a query").expect("the annotator is there");
    let server = instance::server(&fleet.deps).expect("a server");
    let password = fleet.deps.secrets.database_password(id, owner.secret_version);
    instance::spec(&fleet.deps, &server, &owner, &database, &password)
}
