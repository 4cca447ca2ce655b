//! The labeling day itself, step by step.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use aws_sdk_s3::{error::DisplayErrorContext, primitives::ByteStream};
use serde_json::{Value, json};

use super::{
    annotator::{Annotator, labels},
    fleet::{Fleet, STEP, id, poll},
    pictures::{COLOURS, Picture, SHAPES},
    review,
    screen::{Screen, seconds},
};
use crate::{
    config::Config,
    domain::{AnnotatorId, Secrets},
    s3::S3,
    up::stack::Admin,
};

const IMAGES: usize = 30;
const GOLD: usize = 4;
/// The image that is labeled wrongly at first.
const MISTAKEN: usize = 7;
/// A cold start makes the template database first, which costs Label Studio most of a minute.
const PROVISION: Duration = Duration::from_secs(600);

pub struct Day<'a> {
    config: &'a Config,
    admin: &'a Admin,
    /// Keeps this day's names and keys apart from an earlier one's in the same folder.
    run: String,
    s3: S3,
}

/// What step 5 created.
pub struct Created {
    pub annotator: i64,
    pub reviewer: i64,
    pub workflow: i64,
    pub review: i64,
    email: String,
}

impl<'a> Day<'a> {
    pub fn new(config: &'a Config, admin: &'a Admin) -> Self {
        let run = chrono::Utc::now().format("%Y%m%d-%H%M%S").to_string();
        Self { config, admin, run, s3: S3::new(&config.s3) }
    }

    pub async fn run(&self, screen: &mut Screen) -> anyhow::Result<()> {
        let begun = Instant::now();
        screen.step(&format!("Put {IMAGES} images and {GOLD} gold images into the bucket"));
        let gold = self.put_images(screen).await?;
        screen.done("images");

        screen.step("Set up the work by the HTTP API");
        let fleet = Fleet::log_in(&self.config.public_url, &self.admin.email, self.admin.password.expose());
        let fleet = fleet.await?;
        let created = self.set_up(&fleet, screen).await?;
        screen.done("set up");

        screen.step("Start the annotator's own Label Studio");
        let url = self.start_annotator(&fleet, created.annotator, screen).await?;
        screen.done("provision");

        screen.step("Label batch after batch, until the images run out");
        let annotator = fleet.get(&format!("/api/annotators/{}", created.annotator)).await?;
        let token = annotator["apiToken"].as_str().context("the annotator has no apiToken")?;
        // One gold image, so that a score is not perfect, and one that the reviewer will find.
        let mistakes = [gold, vec![Picture::number(MISTAKEN).png()?]];
        let mut annotator = Annotator::new(&url, token, mistakes)?;
        self.label_all(&fleet, &created, &mut annotator, screen).await?;
        screen.done("label");

        screen.step("Wait until every batch is scored and exported");
        let batches = self.finished_batches(&fleet, &created, screen).await?;
        screen.done("score and export");

        screen.step("Start a reviewer's own Label Studio");
        let reviewer_url = self.start_annotator(&fleet, created.reviewer, screen).await?;
        screen.done("reviewer");

        screen.step("Review what was labeled: one is rejected, comes back, and is accepted");
        review::review(&fleet, &created, &mut annotator, &reviewer_url, screen).await?;
        screen.done("review");

        screen.step("What came of it");
        self.summary(&batches, &created, &url, screen, begun.elapsed())
    }

    /// Returns the gold images.
    async fn put_images(&self, screen: &Screen) -> anyhow::Result<Vec<Vec<u8>>> {
        let bar = screen.bar("images", (IMAGES + GOLD) as u64);
        let mut gold = Vec::new();
        for n in 0..IMAGES + GOLD {
            let bytes = Picture::number(n).png()?;
            let key = if n < IMAGES { format!("{}{n:03}.png", self.source()) } else { self.gold_key(n) };
            let put = self.s3.client.put_object().bucket(&self.s3.bucket).key(&key).content_type("image/png");
            let sent = put.body(ByteStream::from(bytes.clone())).send().await;
            sent.map_err(|error| anyhow::anyhow!("put {key}: {}", DisplayErrorContext(&error)))?;
            if n >= IMAGES {
                gold.push(bytes);
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        screen.line(format!("s3://{}/{}", self.s3.bucket, self.source()));
        Ok(gold)
    }

    async fn set_up(&self, fleet: &Fleet, screen: &Screen) -> anyhow::Result<Created> {
        let role = json!({ "name": format!("labeler {}", self.run), "color": "#3B82F6" });
        let role = fleet.create("/api/roles", &role).await?;
        let config = json!({ "name": "Colour and shape", "configXml": labeling_config() });
        let config = fleet.create("/api/labeling-configs", &config).await?;
        for n in IMAGES..IMAGES + GOLD {
            let picture = Picture::number(n);
            let gold = json!({
                "name": format!("Gold: {} {}", picture.colour.name(), picture.shape.name()),
                "s3ImageKey": self.gold_key(n),
                "expectedLabels": labels(picture.colour, picture.shape),
                "labelingConfigId": config,
            });
            fleet.create("/api/gold-tasks", &gold).await?;
        }
        let reviewers = json!({ "name": format!("reviewer {}", self.run), "color": "#F59E0B" });
        let reviewers = fleet.create("/api/roles", &reviewers).await?;
        let review = json!({ "name": "Review of colour and shape", "configXml": review_config() });
        let review = fleet.create("/api/labeling-configs", &review).await?;
        let workflow = json!({
            "name": format!("Colours and shapes {}", self.run),
            "roleId": role, "labelingConfigId": config,
            "s3SourcePath": self.source(), "s3ExportPath": format!("demo/{}/exports/", self.run),
            "imagesPerProject": 10, "goldStandardRate": 0.2,
        });
        let review = json!({
            "name": format!("Review {}", self.run), "previousWorkflowIndex": 0,
            "roleId": reviewers, "labelingConfigId": review,
            "s3SourcePath": self.source(), "s3ExportPath": format!("demo/{}/reviewed/", self.run),
            "imagesPerProject": IMAGES, "rejectionMode": "route_to_workflow", "rejectionRouteWorkflowIndex": 0,
            "rejectionReturnToOriginal": true, "maxReworkIterations": 3,
        });
        let made = fleet.post("/api/workflows/bulk", &json!({ "workflows": [workflow, review] })).await?;
        let (workflow, review) = (id(&made["workflows"][0])?, id(&made["workflows"][1])?);
        let email = format!("alice+{}@example.com", self.run);
        let annotator = json!({ "name": "Alice", "email": email, "roleId": role });
        let annotator = fleet.create("/api/annotators", &annotator).await?;
        screen.line(format!("role {role}, labeling config {config}, {GOLD} gold tasks"));
        screen.line(format!("workflow {workflow}: batches of 10 images, one gold task to five of them"));
        let reviewer = json!({
            "name": "Bob", "email": format!("bob+{}@example.com", self.run), "roleId": reviewers });
        let reviewer = fleet.create("/api/annotators", &reviewer).await?;
        screen.line(format!(
            "workflow {review}: reviews what workflow {workflow} made; rejected work goes back to it"
        ));
        screen.line(format!(
            "annotator {annotator}: Alice, who labels; annotator {reviewer}: Bob, who reviews"
        ));
        Ok(Created { annotator, reviewer, workflow, review, email })
    }

    /// Returns where their Label Studio is.
    async fn start_annotator(
        &self,
        fleet: &Fleet,
        annotator: i64,
        screen: &Screen,
    ) -> anyhow::Result<String> {
        let path = format!("/api/annotators/{annotator}");
        fleet.post(&format!("{path}/start"), &json!({})).await?;
        let spinner = screen.spinner("its database, its login, its process");
        let status = poll("Label Studio to serve", PROVISION, async || {
            let status = fleet.get(&format!("{path}/status")).await?;
            match status["status"].as_str() {
                Some("active") => Ok(Some(status)),
                Some("error") => bail!("the start failed: {}", status["statusReason"]),
                _ => Ok(None),
            }
        });
        let status = status.await?;
        spinner.finish_and_clear();
        let url = status["url"].as_str().context("an active annotator has no URL")?.to_owned();
        screen.line(&url);
        Ok(url)
    }

    async fn label_all(
        &self,
        fleet: &Fleet,
        created: &Created,
        annotator: &mut Annotator,
        screen: &Screen,
    ) -> anyhow::Result<()> {
        let mut labeled = 0;
        for number in 1.. {
            let begun = Instant::now();
            let spinner = screen.spinner(&format!("batch {number} is made"));
            let batch = fleet.open_batch(created.workflow).await?;
            spinner.finish_and_clear();
            let waited = begun.elapsed();
            let count = |name: &str| batch[name].as_u64().unwrap_or_default();
            let (images, gold) = (count("taskCount"), count("goldTaskCount"));
            let bar = screen.bar(&format!("batch {number}"), images + gold);
            let project = batch["lsProjectId"].as_i64().context("the batch has no project")?;
            annotator.label(project, &bar).await?;
            bar.finish_and_clear();
            screen.line(format!(
                "batch {number}: {images} images and {gold} gold tasks labeled in {}, after {} of waiting for it",
                seconds(begun.elapsed() - waited),
                seconds(waited),
            ));
            labeled += images;
            if labeled >= IMAGES as u64 {
                break;
            }
        }
        Ok(())
    }

    /// The batches with their details, when all are completed, scored and exported.
    async fn finished_batches(
        &self,
        fleet: &Fleet,
        created: &Created,
        screen: &Screen,
    ) -> anyhow::Result<Vec<Value>> {
        let spinner = screen.spinner("gold is scored, exports are written");
        let batches = poll("scores and exports", STEP, async || {
            let mut finished = Vec::new();
            for batch in fleet.batches(created.workflow).await? {
                let batch = fleet.get(&format!("/api/assignments/{}", id(&batch)?)).await?;
                let scored = batch["goldResults"].as_array().map_or(0, Vec::len) as u64;
                if batch["exportedAt"].is_null() || batch["goldTaskCount"].as_u64() != Some(scored) {
                    return Ok(None);
                }
                finished.push(batch);
            }
            Ok(Some(finished))
        });
        let mut batches = batches.await?;
        spinner.finish_and_clear();
        // The newest comes first.
        batches.reverse();
        Ok(batches)
    }

    fn summary(
        &self,
        batches: &[Value],
        created: &Created,
        url: &str,
        screen: &Screen,
        took: Duration,
    ) -> anyhow::Result<()> {
        let sum = |name: &str| batches.iter().filter_map(|batch| batch[name].as_i64()).sum::<i64>();
        let results = batches.iter().filter_map(|batch| batch["goldResults"].as_array()).flatten();
        let scores: Vec<f64> = results.filter_map(|result| result["score"].as_f64()).collect();
        let accuracy = 100.0 * scores.iter().sum::<f64>() / scores.len().max(1) as f64;
        let right = scores.iter().filter(|score| **score >= 1.0).count();

        screen.line(format!("{:<14} {}", "batches", batches.len()));
        screen.line(format!("{:<14} {} images, {} gold", "tasks", sum("taskCount"), sum("goldTaskCount")));
        screen.line(format!(
            "{:<14} {accuracy:.0} % ({right} of {} all right)",
            "gold accuracy",
            scores.len()
        ));
        for batch in batches {
            let key = batch["exportKey"].as_str().context("an exported batch has no key")?;
            screen.line(format!("{:<14} {key} ({} bytes)", "export", batch["exportBytes"]));
        }
        screen.line(format!("{:<14} {}", "time", seconds(took)));
        for (stage, took) in &screen.times {
            screen.line(format!("{:<14}   {stage:<18} {:>8}", "", seconds(*took)));
        }

        let secrets = Secrets::new(self.config.secret_key.expose());
        let password = secrets.label_studio_password(AnnotatorId(created.annotator), 1);
        println!();
        screen.line(screen.bold("Look around"));
        screen.line(format!("{:<14} {}/api/openapi.json", "API", self.config.public_url));
        screen.line(format!("{:<14} {}, {}", "  log in as", self.admin.email, self.admin.password_hint()));
        screen.line(format!("{:<14} {url}", "Label Studio"));
        screen.line(format!("{:<14} {}, password {password}", "  log in as", created.email));
        Ok(())
    }

    fn source(&self) -> String {
        format!("demo/{}/images/", self.run)
    }

    fn gold_key(&self, n: usize) -> String {
        format!("demo/{}/gold/{n:03}.png", self.run)
    }
}

fn labeling_config() -> String {
    let choices = |control: &str, names: Vec<&str>| {
        let choices: String = names.iter().map(|name| format!("<Choice value=\"{name}\"/>")).collect();
        format!(r#"<Choices name="{control}" toName="image" choice="single-radio">{choices}</Choices>"#)
    };
    let colours = choices("colour", COLOURS.iter().map(|colour| colour.name()).collect());
    let shapes = choices("shape", SHAPES.iter().map(|shape| shape.name()).collect());
    format!(r#"<View><Image name="image" value="$image"/>{colours}{shapes}</View>"#)
}

/// The same controls, so that the reviewer sees what was chosen, and the decision.
fn review_config() -> String {
    let decision = r#"<Choices name="review_decision" toName="image" choice="single-radio"><Choice value="accept"/><Choice value="reject"/></Choices><TextArea name="rejection_reason" toName="image"/></View>"#;
    labeling_config().replace("</View>", decision)
}
