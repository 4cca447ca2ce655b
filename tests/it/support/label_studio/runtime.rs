//! Where simulated instances run: the worker's runtime, as far as instances go. What is started here is a
//! [`LabelStudio`] of this process.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use labelfleet::domain::{AnnotatorId, RoleId};
use labelfleet_jobs::runtime::{Address, Instance, InstanceSpec, Runtime};
use sqlx::PgPool;

use super::LabelStudio;
use crate::support::factory;

#[derive(Default)]
pub struct Simulator {
    instances: Mutex<BTreeMap<AnnotatorId, Arc<LabelStudio>>>,
}

impl Simulator {
    /// An active annotator whose instance serves.
    pub async fn annotator(&self, pool: &PgPool, role: RoleId) -> (AnnotatorId, Arc<LabelStudio>) {
        let id = factory::idle_annotator(pool, role).await;
        (id, self.activate(pool, id).await)
    }

    /// Gives an annotator an instance that serves.
    pub async fn activate(&self, pool: &PgPool, id: AnnotatorId) -> Arc<LabelStudio> {
        let studio = Arc::new(LabelStudio::start(uuid::Uuid::new_v4().simple().to_string()).await);
        factory::activate(pool, id, studio.port, &studio.token).await;
        self.put(id, studio.clone());
        studio
    }

    /// An instance that carries this annotator's name.
    pub fn put(&self, id: AnnotatorId, studio: Arc<LabelStudio>) {
        self.instances.lock().unwrap().insert(id, studio);
    }

    fn find(&self, id: AnnotatorId) -> Option<Arc<LabelStudio>> {
        self.instances.lock().unwrap().get(&id).cloned()
    }
}

fn shown(annotator: AnnotatorId, studio: &LabelStudio) -> Instance {
    let running = studio.is_running();
    Instance {
        annotator,
        name: format!("fleet-ls-{annotator}"),
        running,
        address: running.then(|| Address { host: "127.0.0.1".into(), port: studio.port }),
    }
}

#[async_trait]
impl Runtime for Simulator {
    async fn ensure_running(&self, spec: &InstanceSpec) -> anyhow::Result<Instance> {
        let studio = match self.find(spec.annotator) {
            Some(studio) => studio,
            None => {
                let token = &spec.env["LABEL_STUDIO_USER_TOKEN"];
                let studio = Arc::new(LabelStudio::start(token).await);
                self.put(spec.annotator, studio.clone());
                studio
            }
        };
        if !studio.is_running() {
            studio.restart().await;
        }
        Ok(shown(spec.annotator, &studio))
    }

    async fn stop(&self, annotator: AnnotatorId) -> anyhow::Result<()> {
        if let Some(studio) = self.find(annotator) {
            studio.stop();
        }
        Ok(())
    }

    async fn remove(&self, annotator: AnnotatorId) -> anyhow::Result<()> {
        self.stop(annotator).await?;
        self.instances.lock().unwrap().remove(&annotator);
        Ok(())
    }

    async fn get(&self, annotator: AnnotatorId) -> anyhow::Result<Option<Instance>> {
        Ok(self.find(annotator).map(|studio| shown(annotator, &studio)))
    }

    async fn list(&self) -> anyhow::Result<Vec<Instance>> {
        let instances = self.instances.lock().unwrap();
        Ok(instances.iter().map(|(id, studio)| shown(*id, studio)).collect())
    }

    async fn last_lines(&self, _: AnnotatorId) -> anyhow::Result<String> {
        Ok(String::new())
    }

    async fn migrate(&self, _: &BTreeMap<String, String>) -> anyhow::Result<()> {
        Ok(())
    }

    async fn label_studio_version(&self) -> anyhow::Result<String> {
        Ok("1.23.2".into())
    }

    fn this_machine(&self) -> &'static str {
        "127.0.0.1"
    }
}
