//! A client of server-sent events that reads them one by one.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::Value;
use tokio::time::timeout;

use super::api::Api;

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub name: String,
    pub id: u64,
    pub data: Value,
}

impl Event {
    pub fn job(&self) -> i64 {
        self.data["id"].as_i64().unwrap_or_else(|| panic!("no job in {self:?}"))
    }
}

pub struct Events {
    response: Response,
    text: String,
    /// What the server said last of when to come back.
    pub retry: Option<u64>,
}

impl Events {
    pub async fn open(api: &Api, path: &str) -> Self {
        let response = api.request(Method::GET, path).send().await.unwrap();
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new(), retry: None }
    }

    /// The next one; none: the stream has ended as it should.
    pub async fn next(&mut self) -> Option<Event> {
        timeout(PATIENCE, self.read()).await.unwrap_or_else(|_| panic!("no event within {PATIENCE:?}"))
    }

    /// All up to the first of this name.
    pub async fn until(&mut self, name: &str) -> Vec<Event> {
        let mut events = Vec::new();
        while events.last().is_none_or(|last: &Event| last.name != name) {
            events.push(self.next().await.unwrap_or_else(|| panic!("it ended before {name}: {events:?}")));
        }
        events
    }

    async fn read(&mut self) -> Option<Event> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                if let Some(event) = self.parse(&block) {
                    return Some(event);
                }
            }
            let chunk = self.response.chunk().await.expect("it is not cut off")?;
            self.text += std::str::from_utf8(&chunk).unwrap();
        }
    }

    /// None: a comment, or only when to come back.
    fn parse(&mut self, block: &str) -> Option<Event> {
        let (mut name, mut id, mut data) = (None, None, None);
        for line in block.lines() {
            match line.split_once(": ").unwrap_or((line, "")) {
                ("event", value) => name = Some(value.to_owned()),
                ("id", value) => id = Some(value.parse().unwrap()),
                ("data", value) => data = Some(serde_json::from_str(value).unwrap()),
                ("retry", value) => self.retry = Some(value.parse().unwrap()),
                (field, _) => assert!(field.is_empty() || field == ":", "{line}"),
            }
        }
        Some(Event { name: name?, id: id?, data: data? })
    }
}
