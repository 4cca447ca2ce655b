//! What the jobs of an annotator's instance share: what it is made from, and taking it down.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context;
use labelfleet::{
    domain::{AnnotatorId, AnnotatorStatus},
    lock::{Held, Key, LockError, Session},
    ops::outputs::NothingToDo,
    queue::{JobArgs, JobContext, JobError, JobResult, OrRetry},
    store::{
        instance_databases::Server,
        instances::{self, Owner},
    },
};
use url::{Host, Url};

use crate::{
    Deps,
    runtime::{InstanceSpec, Runtime},
};

/// How long another job of the same annotator is waited for before the worker's slot is given back.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// One job at a time changes an annotator's instance, database and role.
pub async fn lock(deps: &Deps, annotator: AnnotatorId) -> Result<Session, JobError> {
    match Session::acquire(&deps.pool, Key::Annotator(annotator.0), LOCK_PATIENCE).await {
        Ok(lock) => Ok(lock),
        Err(LockError::Taken(_)) => Err(JobError::Snooze(Duration::from_secs(1))),
        Err(error) => Err(JobError::Retry(error.into())),
    }
}

/// Where the instances' databases are.
pub fn server(deps: &Deps) -> anyhow::Result<Server> {
    Server::new(deps.config.instances.database_url.expose(), &deps.pool).context("INSTANCE_DATABASE_URL")
}

/// Removes instance, database and role, whatever is there of them.
pub async fn tear_down(deps: &Deps, lock: &Held, annotator: AnnotatorId) -> anyhow::Result<()> {
    deps.runtime.remove(annotator).await?;
    let fleet = &deps.config.instances.fleet;
    server(deps)?.drop_clone(lock, fleet, annotator).await.context("dropping database and role")?;
    Ok(())
}

/// Ends a job that has nothing to do for an annotator in this status. Under the lock of the annotator's row: whoever
/// changes the status after it finds the job ended and enqueues another, and what was changed before it is seen
/// here, and the job runs again.
pub async fn end_quietly<J: JobArgs<Output: From<NothingToDo>>>(
    deps: &Deps,
    context: &JobContext,
    annotator: AnnotatorId,
    has_work: impl Fn(Option<AnnotatorStatus>) -> bool,
) -> JobResult<J::Output> {
    let mut tx = deps.queue.begin().await.or_retry()?;
    let status = instances::lock_status(&mut tx, annotator).await.or_retry()?;
    if has_work(status) {
        return Err(JobError::Snooze(Duration::from_millis(100)));
    }
    let outcome = NothingToDo { nothing_to_do: status }.into();
    context.finish_in::<J>(&mut tx, &outcome).await.or_retry()?;
    tx.commit().await.or_retry()?;
    Ok(outcome)
}

/// How Label Studio reaches its database.
pub fn database_env(
    deps: &Deps,
    server: &Server,
    database: &str,
    role: &str,
    password: &str,
) -> BTreeMap<String, String> {
    let (host, port) = server.address();
    let (host, port) = match &deps.config.instances.database_host {
        Some(reached_by) => match reached_by.rsplit_once(':') {
            Some((host, port)) => (host.to_owned(), port.to_owned()),
            None => (reached_by.clone(), port.to_string()),
        },
        None if is_loopback(&host) => (deps.runtime.this_machine().to_owned(), port.to_string()),
        None => (host, port.to_string()),
    };
    env([
        ("DJANGO_DB", "default"),
        ("POSTGRE_NAME", database),
        ("POSTGRE_USER", role),
        ("POSTGRE_PASSWORD", password),
        ("POSTGRE_HOST", &host),
        ("POSTGRE_PORT", &port),
        // Nothing is told to, or asked of, the maker.
        ("LATEST_VERSION_CHECK", "false"),
        ("COLLECT_ANALYTICS", "false"),
        ("SENTRY_DSN", ""),
        ("FRONTEND_SENTRY_DSN", ""),
    ])
}

/// What the annotator's instance is to be, its database being there. The role has the database's name.
pub fn spec(deps: &Deps, server: &Server, owner: &Owner, database: &str, password: &str) -> InstanceSpec {
    let mut env = database_env(deps, server, database, database, password);
    env.extend(owner_env(deps, owner));
    let domain = deps.config.instances.domain.as_deref();
    let host = owner.subdomain.as_deref().zip(domain).map(|(subdomain, domain)| {
        // People may reach the router by a port, which is no part of the name.
        let domain = domain.split_once(':').map_or(domain, |(name, _)| name);
        format!("{subdomain}.{domain}")
    });
    InstanceSpec { annotator: owner.id, env, host }
}

/// What makes a Label Studio this annotator's.
fn owner_env(deps: &Deps, owner: &Owner) -> BTreeMap<String, String> {
    let (id, version) = (owner.id, owner.secret_version);
    let mut all = env([
        ("LABEL_STUDIO_USERNAME", owner.email.as_str()),
        ("LABEL_STUDIO_PASSWORD", &deps.secrets.label_studio_password(id, version)),
        ("LABEL_STUDIO_USER_TOKEN", &deps.secrets.label_studio_token(id, version)),
        ("LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN", "true"),
        ("LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK", "true"),
        ("SECRET_KEY", &deps.secrets.label_studio_key(id, version)),
        // Else it refuses webhooks to private addresses, where our API usually is.
        ("SSRF_PROTECTION_ENABLED", "false"),
    ]);
    if let (Some(subdomain), Some(domain)) = (&owner.subdomain, &deps.config.instances.domain) {
        all.insert("LABEL_STUDIO_HOST".to_owned(), format!("http://{subdomain}.{domain}"));
    }
    all
}

/// A URL of ours as an instance reaches it: what listens on this machine's own address has another name inside a
/// container.
pub fn seen_from_instance(runtime: &dyn Runtime, url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else { return url.to_owned() };
    let host = parsed.host_str().unwrap_or_default().to_owned();
    if !is_loopback(&host) || parsed.set_host(Some(runtime.this_machine())).is_err() {
        return url.to_owned();
    }
    parsed.as_str().trim_end_matches('/').to_owned()
}

fn is_loopback(host: &str) -> bool {
    match Host::parse(host) {
        Ok(Host::Domain(name)) => name == "localhost",
        Ok(Host::Ipv4(ip)) => ip.is_loopback(),
        Ok(Host::Ipv6(ip)) => ip.is_loopback(),
        // As `::1` without brackets.
        Err(_) => host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()),
    }
}

fn env<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn this_machines_own_addresses_are_known() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["db", "10.0.0.1", "localhost.example.com", "", "/var/run/postgresql"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
