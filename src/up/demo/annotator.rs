//! The automated annotator: opens each task of a project as a person would, looks at its image, and submits what
//! it sees through Label Studio's own API.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Context;
use indicatif::ProgressBar;
use reqwest::Client;
use serde_json::{Value, json};

use super::pictures::{COLOURS, Colour, SHAPES, Shape, recognise};

pub struct Annotator {
    http: Client,
    url: String,
    token: String,
    /// Of each of these sets of pictures the first that is met is labeled wrongly. They are known by their bytes, since
    /// nothing else tells gold from the rest.
    mistakes: Vec<BTreeSet<Vec<u8>>>,
}

impl Annotator {
    pub fn new(
        url: &str,
        token: &str,
        mistakes: impl IntoIterator<Item = Vec<Vec<u8>>>,
    ) -> anyhow::Result<Self> {
        let http = Client::builder().timeout(Duration::from_secs(60)).build()?;
        let mistakes = mistakes.into_iter().map(BTreeSet::from_iter).collect();
        Ok(Self { http, url: url.to_owned(), token: token.to_owned(), mistakes })
    }

    /// Labels what is not labeled yet in a project; returns how many tasks that were.
    pub async fn label(&mut self, project: i64, bar: &ProgressBar) -> anyhow::Result<usize> {
        let tasks = self.tasks(project).await.context("list the tasks in Label Studio")?;
        for task in &tasks {
            self.label_one(task).await.with_context(|| format!("label task {}", task["id"]))?;
            bar.inc(1);
        }
        Ok(tasks.len())
    }

    /// What is not labeled yet in a project.
    pub async fn tasks(&self, project: i64) -> anyhow::Result<Vec<Value>> {
        let url = format!("{}/api/tasks?project={project}&page=1&page_size=1000&fields=all", self.url);
        let request = self.http.get(url).header("Authorization", format!("Token {}", self.token));
        let answer: Value = request.send().await?.error_for_status()?.json().await?;
        let tasks = answer["tasks"].as_array().context("no tasks in the answer")?;
        Ok(tasks.iter().filter(|task| task["is_labeled"] != true).cloned().collect())
    }

    /// The image of a task.
    pub async fn look(&self, task: &Value) -> anyhow::Result<Vec<u8>> {
        let image = task["data"]["image"].as_str().context("the task has no image")?;
        let answer = self.http.get(image).send().await?.error_for_status().context("open the image")?;
        Ok(answer.bytes().await?.to_vec())
    }

    pub async fn submit(&self, task: &Value, result: &Value) -> anyhow::Result<()> {
        let url = format!("{}/api/tasks/{}/annotations/", self.url, task["id"]);
        let body = json!({ "result": result, "lead_time": 1.5 });
        let request =
            self.http.post(url).header("Authorization", format!("Token {}", self.token)).json(&body);
        request.send().await?.error_for_status().context("submit the annotation")?;
        Ok(())
    }

    async fn label_one(&mut self, task: &Value) -> anyhow::Result<()> {
        let bytes = self.look(task).await?;
        let (mut colour, mut shape) = recognise(&bytes)?;
        if let Some(set) = self.mistakes.iter().position(|set| set.contains(&bytes)) {
            self.mistakes.swap_remove(set);
            colour = COLOURS.into_iter().find(|other| *other != colour).context("there is another colour")?;
            shape = SHAPES.into_iter().find(|other| *other != shape).context("there is another shape")?;
        }
        self.submit(task, &labels(colour, shape)).await
    }
}

/// What Label Studio would send for these choices, and so what a gold task expects.
pub fn labels(colour: Colour, shape: Shape) -> Value {
    let choice = |control: &str, value: &str| json!({ "from_name": control, "to_name": "image", "type": "choices", "value": { "choices": [value] } });
    json!([choice("colour", colour.name()), choice("shape", shape.name())])
}
