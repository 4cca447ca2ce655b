//! A migrated database for one test: cloned from a template that is made once a server, dropped at the end.

use labelfleet::store::migrations::{self, MIGRATIONS};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool, postgres::PgPoolOptions};
use url::Url;

pub struct Database {
    pub pool: PgPool,
    pub url: String,
    name: String,
    server: String,
}

impl Database {
    /// On the server that all tests share.
    pub async fn create() -> Self {
        Self::create_on(&super::server("TEST_DATABASE_URL")).await
    }

    /// On the server of this URL, whose user may create databases.
    pub async fn create_on(server: &str) -> Self {
        let mut admin = PgConnection::connect(server).await.expect("the server of TEST_DATABASE_URL answers");
        let template = ensure_template(&mut admin, server).await;
        Self::from_template(admin, server, &template).await
    }

    /// With no migration in it.
    pub async fn empty() -> Self {
        let server = super::server("TEST_DATABASE_URL");
        let admin = PgConnection::connect(&server).await.expect("the server of TEST_DATABASE_URL answers");
        Self::from_template(admin, &server, "template0").await
    }

    async fn from_template(mut admin: PgConnection, server: &str, template: &str) -> Self {
        let name = format!("test_{}", uuid::Uuid::new_v4().simple());
        run(&mut admin, format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
        let url = with_database(server, &name);
        let pool =
            PgPoolOptions::new().max_connections(10).connect(&url).await.expect("connect to own database");
        Self { pool, url, name, server: server.to_owned() }
    }
}

impl Drop for Database {
    /// Off the test's runtime, which may be ending.
    fn drop(&mut self) {
        let (name, server) = (self.name.clone(), self.server.clone());
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut admin = PgConnection::connect(&server).await?;
                admin.execute(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))).await?;
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
            })
        });
        if !std::thread::panicking() {
            dropped.join().expect("the dropping thread ends").expect("the test's database is dropped");
        }
    }
}

/// The template's name holds the migrations' checksums, so an edited one makes a new template.
async fn ensure_template(admin: &mut PgConnection, server: &str) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    MIGRATIONS.iter().for_each(|migration| hash.update(&migration.checksum));
    let digest: String = hex::encode(hash.finalize()).chars().take(16).collect();
    let name = format!("test_template_{digest}");
    run(admin, "SELECT pg_advisory_lock(77)".into()).await;
    let there: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(&name)
        .fetch_one(&mut *admin)
        .await
        .expect("pg_database is readable");
    if !there {
        let making = format!("{name}_making");
        run(admin, format!("DROP DATABASE IF EXISTS {making} WITH (FORCE)")).await;
        run(admin, format!("CREATE DATABASE {making}")).await;
        let mut connection =
            PgConnection::connect(&with_database(server, &making)).await.expect("connect to template");
        migrations::run(&mut connection).await.expect("the migrations run");
        connection.close().await.expect("close the template");
        run(admin, format!("ALTER DATABASE {making} RENAME TO {name}")).await;
    }
    run(admin, "SELECT pg_advisory_unlock(77)".into()).await;
    name
}

async fn run(connection: &mut PgConnection, sql: String) {
    connection.execute(AssertSqlSafe(sql.clone())).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

pub fn with_database(server: &str, name: &str) -> String {
    let mut url = Url::parse(server).expect("TEST_DATABASE_URL is a URL");
    url.set_path(name);
    url.to_string()
}
