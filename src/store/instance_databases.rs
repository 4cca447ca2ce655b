//! The databases of Label Studio instances: the one place where names are put into SQL, as DDL takes no parameters.
//!
//! A template database a Label Studio version holds its migrations, which take it some forty seconds; an
//! annotator's database is a clone of it, owned by a role of the same name that reaches no other database. Each
//! step looks at what is there and can be repeated after a crash anywhere; either kind has its name only when it is
//! whole.
//!
//! A clone gives its ids from 1. Where it takes the place of one that was lost, we hold ids that the lost one gave, so
//! it begins above them.
//!
//! The server may be another one than the fleet's own, and several fleets may share it.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool, postgres::PgPoolOptions};

use super::instances::{LargestIds, largest_ids};
use crate::{
    domain::{AnnotatorId, FleetName},
    lock::{Held, Key, LockError, Session},
};

/// The server that instances' databases are on, as a user who may create databases and roles.
#[derive(Debug, Clone)]
pub struct Server {
    admin: PgPool,
    /// The fleet's own database.
    fleet: PgPool,
}

/// The template that is being made: Label Studio migrates `database` as `role`.
#[derive(Debug)]
pub struct Making {
    pub database: String,
    pub role: String,
    pub password: String,
    template: String,
}

impl Server {
    /// Connects when it is first used.
    pub fn new(admin_url: &str, fleet: &PgPool) -> sqlx::Result<Self> {
        let admin = PgPoolOptions::new().max_connections(2).connect_lazy(admin_url)?;
        Ok(Self { admin, fleet: fleet.clone() })
    }

    /// Host and port, as the administrator's URL has them.
    pub fn address(&self) -> (String, u16) {
        let options = self.admin.connect_options();
        (options.get_host().to_owned(), options.get_port())
    }

    /// The lock on this server under which a template is made, for all fleets that use the same URL.
    pub async fn lock_template(&self, patience: Duration) -> Result<Session, LockError> {
        Session::acquire(&self.admin, Key::Template, patience).await
    }

    pub async fn has_template(&self, version: &str) -> sqlx::Result<bool> {
        self.has_database(&template_name(version)).await
    }

    /// An empty database and the role that is to migrate it. What a crash left of an earlier attempt is dropped,
    /// with whoever is still connected to it.
    pub async fn begin_template(&self, lock: &Held, version: &str, password: String) -> sqlx::Result<Making> {
        debug_assert_eq!(lock.key(), Key::Template);
        let template = template_name(version);
        let making = Making { database: making_name(&template), role: template.clone(), password, template };
        let (database, role) = (identifier(&making.database), identifier(&making.role));
        self.drop_database(&making.database).await?;
        self.ensure_role(&making.role, &making.password).await?;
        self.run(format!("CREATE DATABASE {database}")).await?;
        // Not its owner: the objects inside are handed to an annotator's role, the database is not.
        self.run(format!("GRANT ALL ON DATABASE {database} TO {role}")).await?;
        self.run(format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC")).await?;
        self.inside(&making.database, format!("GRANT ALL ON SCHEMA public TO {role}")).await?;
        Ok(making)
    }

    /// Gives the migrated database its name as the template, to which nobody connects any more.
    pub async fn finish_template(&self, lock: &Held, making: Making) -> sqlx::Result<()> {
        debug_assert_eq!(lock.key(), Key::Template);
        let (database, role) = (identifier(&making.database), identifier(&making.role));
        self.run(format!("ALTER ROLE {role} NOLOGIN PASSWORD NULL")).await?;
        self.run(format!("ALTER DATABASE {database} ALLOW_CONNECTIONS false")).await?;
        self.run(format!("ALTER DATABASE {database} RENAME TO {}", identifier(&making.template))).await
    }

    /// The annotator's role and database, as new or as an earlier run left them.
    pub async fn ensure_clone(
        &self,
        lock: &Held,
        fleet: &FleetName,
        annotator: AnnotatorId,
        version: &str,
        password: &str,
    ) -> sqlx::Result<String> {
        debug_assert_eq!(lock.key(), Key::Annotator(annotator.0));
        let name = fleet.database(annotator);
        self.ensure_role(&name, password).await?;
        if !self.has_database(&name).await? {
            let held = largest_ids(&mut *self.fleet.acquire().await?, annotator).await?;
            self.make_clone(&name, version, &held).await?;
        }
        Ok(name)
    }

    /// What a crash left of an earlier attempt is dropped.
    async fn make_clone(&self, name: &str, version: &str, held: &LargestIds) -> sqlx::Result<()> {
        let making = making_name(name);
        let (database, role) = (identifier(&making), identifier(name));
        let template = identifier(&template_name(version));
        self.drop_database(&making).await?;
        self.run(format!("CREATE DATABASE {database} TEMPLATE {template} OWNER {role}")).await?;
        self.run(format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC")).await?;
        self.inside(&making, format!("REASSIGN OWNED BY {template} TO {role}")).await?;
        self.inside(&making, begin_above(held)).await?;
        self.run(format!("ALTER DATABASE {database} RENAME TO {role}")).await
    }

    /// Database and role of an annotator, gone whatever was there.
    pub async fn drop_clone(
        &self,
        lock: &Held,
        fleet: &FleetName,
        annotator: AnnotatorId,
    ) -> sqlx::Result<()> {
        debug_assert_eq!(lock.key(), Key::Annotator(annotator.0));
        let name = fleet.database(annotator);
        self.drop_database(&making_name(&name)).await?;
        self.drop_database(&name).await?;
        self.run(format!("DROP ROLE IF EXISTS {}", identifier(&name))).await
    }

    /// Databases into which every role is let by default, and should not be: the fleet's own and those that come
    /// with a server. Databases of other applications are not touched.
    pub async fn open_databases(&self) -> sqlx::Result<Vec<String>> {
        let fleet = self.fleet.connect_options();
        let own = fleet.get_database().unwrap_or_default();
        sqlx::query_scalar!(
            r#"SELECT datname AS "name!" FROM pg_database
               WHERE datname IN ($1, 'postgres', 'template1') AND datallowconn
                 AND has_database_privilege('public', oid, 'CONNECT') AND pg_has_role(datdba, 'USAGE')"#,
            own,
        )
        .fetch_all(&self.admin)
        .await
    }

    /// Lets only those into `databases` who were named: their owners, superusers, and the fleet itself. Under
    /// the lock, as two of these statements at once fail.
    pub async fn close_databases(&self, lock: &Held, databases: &[String]) -> sqlx::Result<()> {
        debug_assert_eq!(lock.key(), Key::Template);
        let options = self.fleet.connect_options();
        let fleet = identifier(options.get_username());
        for database in databases.iter().map(|name| identifier(name)) {
            self.run(format!("GRANT CONNECT ON DATABASE {database} TO CURRENT_USER")).await?;
            if self.has_role(options.get_username()).await? {
                self.run(format!("GRANT CONNECT ON DATABASE {database} TO {fleet}")).await?;
            }
            self.run(format!("REVOKE CONNECT ON DATABASE {database} FROM PUBLIC")).await?;
        }
        Ok(())
    }

    async fn ensure_role(&self, name: &str, password: &str) -> sqlx::Result<()> {
        let role = identifier(name);
        if !self.has_role(name).await? {
            self.run(format!("CREATE ROLE {role}")).await?;
        }
        self.run(format!(
            "ALTER ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD {}",
            literal(password)
        ))
        .await?;
        // An administrator who is no superuser can hand things only to roles that it is a member of.
        if !self.is_superuser().await? {
            self.run(format!("GRANT {role} TO CURRENT_USER")).await?;
        }
        Ok(())
    }

    async fn is_superuser(&self) -> sqlx::Result<bool> {
        sqlx::query_scalar!(r#"SELECT rolsuper AS "is!" FROM pg_roles WHERE rolname = current_user"#)
            .fetch_one(&self.admin)
            .await
    }

    async fn has_role(&self, name: &str) -> sqlx::Result<bool> {
        sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1) AS "there!""#, name)
            .fetch_one(&self.admin)
            .await
    }

    async fn has_database(&self, name: &str) -> sqlx::Result<bool> {
        sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1) AS "there!""#, name)
            .fetch_one(&self.admin)
            .await
    }

    async fn drop_database(&self, name: &str) -> sqlx::Result<()> {
        self.run(format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", identifier(name))).await
    }

    async fn run(&self, ddl: String) -> sqlx::Result<()> {
        self.admin.execute(AssertSqlSafe(ddl)).await.map(drop)
    }

    /// As the administrator, in another database of the server.
    async fn inside(&self, database: &str, ddl: String) -> sqlx::Result<()> {
        let options = (*self.admin.connect_options()).clone().database(database);
        let mut connection = PgConnection::connect_with(&options).await?;
        connection.execute(AssertSqlSafe(ddl)).await?;
        connection.close().await
    }
}

/// One a version, for all fleets on the server: `ls_template_1_23_2`.
fn template_name(version: &str) -> String {
    let version: String = version
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
        .collect();
    format!("ls_template_{version}")
}

/// Of a database that is not whole yet.
fn making_name(name: &str) -> String {
    format!("{name}_making")
}

/// By Label Studio's own names of its tables.
fn begin_above(held: &LargestIds) -> String {
    [("project", held.project), ("task", held.task), ("task_completion", held.annotation)]
        .map(|(table, id)| {
            format!(
                "SELECT setval(pg_get_serial_sequence('{table}', 'id'),
                               greatest({id}, (SELECT max(id) FROM {table})) + 1, false);"
            )
        })
        .concat()
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// For `standard_conforming_strings`, the default for long.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_cannot_leave_their_quotes() {
        assert_eq!(identifier(r#"a"; DROP ROLE b; --"#), r#""a""; DROP ROLE b; --""#);
        assert_eq!(literal("a'; DROP ROLE b; --"), "'a''; DROP ROLE b; --'");
        assert_eq!(template_name("1.23.2-RC1"), "ls_template_1_23_2_rc1");
    }
}
