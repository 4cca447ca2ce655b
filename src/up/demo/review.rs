//! The review: a second person judges what was labeled, one piece of work is rejected with a reason, comes back to whoever
//! made it, is corrected, reviewed again and accepted.

use anyhow::Context;
use serde_json::{Value, json};

use super::{
    annotator::{Annotator, labels},
    day::Created,
    fleet::{Fleet, STEP, poll},
    pictures::recognise,
    screen::Screen,
};

pub async fn review(
    fleet: &Fleet,
    created: &Created,
    annotator: &mut Annotator,
    reviewer_url: &str,
    screen: &Screen,
) -> anyhow::Result<()> {
    let bob = fleet.get(&format!("/api/annotators/{}", created.reviewer)).await?;
    let token = bob["apiToken"].as_str().context("the reviewer has no apiToken")?;
    let reviewer = Annotator::new(reviewer_url, token, [])?;

    review_batch(fleet, created, &reviewer, screen).await?;
    let spinner = screen.spinner("the rejection is routed");
    let rejection = poll("the rejection", STEP, async || {
        let list = fleet.get(&format!("/api/rejections?workflowId={}", created.review)).await?;
        Ok(list["data"].as_array().and_then(|all| all.iter().find(|one| one["status"] == "routed")).cloned())
    });
    let rejection = rejection.await?;
    let back = fleet.open_batch(created.workflow).await?;
    spinner.finish_and_clear();
    screen
        .line(format!("{} goes back to Alice, who made it, as batch {}", rejection["imageKey"], back["id"]));
    let project = back["lsProjectId"].as_i64().context("the batch has no project")?;
    let tasks = annotator.tasks(project).await?;
    // A gold task may be mixed in, which has none.
    for reason in tasks.iter().filter_map(|task| task["data"]["rejection_reason"].as_str()) {
        screen.line(format!("Alice sees her own labels and why they came back: {reason:?}"));
    }
    let bar = screen.bar("rework", 1);
    annotator.label(project, &bar).await?;
    bar.finish_and_clear();
    screen.line("Alice looks again and corrects it");

    review_batch(fleet, created, &reviewer, screen).await?;
    let spinner = screen.spinner("reviewed work is exported");
    let batches = poll("the exports of the review", STEP, async || {
        let batches = fleet.batches(created.review).await?;
        Ok(batches.iter().all(|batch| !batch["exportedAt"].is_null()).then_some(batches))
    });
    let batches = batches.await?;
    spinner.finish_and_clear();
    for batch in batches.iter().rev() {
        screen.line(format!("exported: {} ({} bytes)", text(&batch["exportKey"]), batch["exportBytes"]));
    }
    let alice = poll("the counters", STEP, async || {
        let alice = fleet.get(&format!("/api/annotators/{}", created.annotator)).await?;
        let reviewed: i64 = batches.iter().filter_map(|batch| batch["taskCount"].as_i64()).sum();
        Ok((alice["reviewedCount"].as_i64() == Some(reviewed)).then_some(alice))
    });
    let alice = alice.await?;
    screen.line(format!(
        "Alice: {} of her labels reviewed, {} rejected (GET /api/rejections has the trail)",
        alice["reviewedCount"], alice["rejectionCount"]
    ));
    Ok(())
}

/// Has the reviewer decide on every task of their batch: what they see on the image against what was labeled.
async fn review_batch(
    fleet: &Fleet,
    created: &Created,
    reviewer: &Annotator,
    screen: &Screen,
) -> anyhow::Result<()> {
    let spinner = screen.spinner("the reviewer's batch is made");
    let batch = fleet.open_batch(created.review).await?;
    spinner.finish_and_clear();
    let project = batch["lsProjectId"].as_i64().context("the batch has no project")?;
    let tasks = reviewer.tasks(project).await.context("list the reviewer's tasks")?;
    let bar = screen.bar("review", tasks.len() as u64);
    let (mut accepted, mut rejected) = (0, Vec::new());
    for task in &tasks {
        let shown = &task["predictions"][0]["result"];
        let (colour, shape) = recognise(&reviewer.look(task).await?)?;
        let mut result = shown.as_array().context("the reviewer is not shown what was labeled")?.clone();
        if chosen(shown) == chosen(&labels(colour, shape)) {
            accepted += 1;
            result.push(says("review_decision", "choices", &json!({ "choices": ["accept"] })));
        } else {
            let reason = format!("this is a {} {}", colour.name(), shape.name());
            result.push(says("review_decision", "choices", &json!({ "choices": ["reject"] })));
            result.push(says("rejection_reason", "textarea", &json!({ "text": [reason] })));
            rejected.push(format!("Bob rejects \"{}\": {reason}", chosen(shown).join(" ")));
        }
        reviewer.submit(task, &Value::from(result)).await?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    screen.line(format!("Bob is shown Alice's labels and accepts {accepted} of {}", tasks.len()));
    rejected.iter().for_each(|line| screen.line(line));
    Ok(())
}

fn says(control: &str, kind: &str, value: &Value) -> Value {
    json!({ "from_name": control, "to_name": "image", "type": kind, "value": value })
}

/// The choices of a result, by the names of their controls.
fn chosen(result: &Value) -> Vec<String> {
    let regions = result.as_array().map_or(&[][..], Vec::as_slice);
    let mut chosen: Vec<(String, String)> = regions
        .iter()
        .map(|region| {
            (text(&region["from_name"]).to_owned(), text(&region["value"]["choices"][0]).to_owned())
        })
        .collect();
    chosen.sort();
    chosen.into_iter().map(|(_, choice)| choice).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
