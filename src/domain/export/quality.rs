//! How the annotator answered the gold of a batch. It lies beside the deliverable and never in it.

use serde::Serialize;
use serde_json::Value;

use crate::domain::{AnnotatorId, AssignmentId, GoldTaskId, WorkflowId, monitoring::ratio};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QualityReport {
    pub assignment_id: AssignmentId,
    pub workflow_id: WorkflowId,
    pub annotator_id: AnnotatorId,
    pub gold_tasks: usize,
    pub evaluated: usize,
    pub skipped: usize,
    /// Mean score of what was evaluated, 0 to 1; null of nothing.
    pub accuracy: Option<f64>,
    pub results: Vec<GoldAnswer>,
}

/// A gold task of the batch, in its order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GoldAnswer {
    pub gold_task_id: GoldTaskId,
    pub name: Option<String>,
    pub image: String,
    pub ls_task_id: Option<i64>,
    /// Null where it was skipped or is not scored.
    pub score: Option<f64>,
    pub skipped: bool,
    /// What the score is made of.
    pub details: Option<Value>,
    pub expected: Value,
    pub given: Option<Value>,
}

impl QualityReport {
    pub fn new(
        assignment_id: AssignmentId,
        workflow_id: WorkflowId,
        annotator_id: AnnotatorId,
        results: Vec<GoldAnswer>,
    ) -> Self {
        let scores: Vec<f64> = results.iter().filter_map(|result| result.score).collect();
        Self {
            assignment_id,
            workflow_id,
            annotator_id,
            gold_tasks: results.len(),
            evaluated: scores.len(),
            skipped: results.iter().filter(|result| result.skipped).count(),
            accuracy: ratio(scores.iter().sum(), scores.len() as f64),
            results,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn skipped_gold_is_counted_apart() {
        let answer = |score: Option<f64>, skipped| GoldAnswer {
            gold_task_id: GoldTaskId(1),
            name: None,
            image: "s3://fleet/gold/1.jpg".into(),
            ls_task_id: None,
            score,
            skipped,
            details: None,
            expected: json!([]),
            given: None,
        };
        let results =
            vec![answer(Some(1.0), false), answer(Some(0.5), false), answer(None, true), answer(None, false)];
        let report = QualityReport::new(AssignmentId(1), WorkflowId(2), AnnotatorId(3), results);
        assert_eq!((report.gold_tasks, report.evaluated, report.skipped), (4, 2, 1));
        assert_eq!(report.accuracy, Some(0.75));
        assert_eq!(QualityReport::new(AssignmentId(1), WorkflowId(2), AnnotatorId(3), vec![]).accuracy, None);
    }
}
