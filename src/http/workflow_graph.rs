//! The graph of `/api/workflows/graph`: nodes and edges as a drawing library takes them.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    domain::{RejectionMode, RoleId, WorkflowId},
    store::workflow_graph::Node,
};

#[derive(Debug, Serialize, ToSchema)]
pub struct Graph {
    nodes: Vec<GraphNode>,
    edges: Vec<Edge>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
enum GraphNode {
    Workflow(WorkflowNode),
    Terminal(TerminalNode),
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct WorkflowNode {
    #[schema(value_type = i64)]
    id: WorkflowId,
    name: String,
    #[schema(value_type = Option<i64>)]
    role_id: Option<RoleId>,
    role_name: Option<String>,
    role_color: Option<String>,
    is_active: bool,
    #[schema(inline)]
    rejection_mode: RejectionMode,
    stats: Stats,
}

/// Where rejections of a workflow end in the archive.
#[derive(Debug, Serialize, ToSchema)]
struct TerminalNode {
    #[schema(example = "archive-1")]
    id: String,
    #[schema(example = "Archive")]
    name: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Stats {
    total_assignments: i64,
    completed_assignments: i64,
    /// Annotators with a batch of this workflow in hand.
    active_annotators: i64,
    /// Of the decisions that reviewers made in this workflow, the share that rejects: 0 to 1, 0 where there are none.
    rejection_rate: f64,
}

/// A workflow's id, or a terminal's.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum NodeId {
    Workflow(i64),
    Terminal(String),
}

#[derive(Debug, Serialize, ToSchema)]
struct Edge {
    #[schema(value_type = i64)]
    source: WorkflowId,
    target: NodeId,
    #[serde(rename = "type")]
    kind: EdgeKind,
    #[schema(example = "accept")]
    label: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum EdgeKind {
    /// Finished (of a review: accepted) work goes on here.
    Chain,
    /// Rejected work goes here.
    Rejection,
}

impl Graph {
    /// Every workflow with the ways out of it; archives after the workflows, chains before rejections.
    pub fn of(workflows: Vec<Node>) -> Self {
        let chains = workflows.iter().filter_map(|node| {
            let source = node.previous_workflow_id?;
            Some(Edge { source, target: NodeId::Workflow(node.id.0), kind: EdgeKind::Chain, label: "accept" })
        });
        let rejections = workflows.iter().filter_map(|node| {
            let target = match node.rejection_mode {
                RejectionMode::None => return None,
                RejectionMode::Archive => NodeId::Terminal(archive(node.id)),
                RejectionMode::RouteToWorkflow => NodeId::Workflow(node.rejection_route_workflow_id?.0),
            };
            Some(Edge { source: node.id, target, kind: EdgeKind::Rejection, label: "reject" })
        });
        let edges = chains.chain(rejections).collect();
        let archiving = workflows.iter().filter(|node| node.rejection_mode == RejectionMode::Archive);
        let terminals: Vec<GraphNode> = archiving
            .map(|node| GraphNode::Terminal(TerminalNode { id: archive(node.id), name: "Archive" }))
            .collect();
        let nodes = workflows.into_iter().map(GraphNode::from).chain(terminals).collect();
        Self { nodes, edges }
    }
}

fn archive(workflow: WorkflowId) -> String {
    format!("archive-{workflow}")
}

impl From<Node> for GraphNode {
    fn from(node: Node) -> Self {
        let rejection_rate =
            if node.reviewed == 0 { 0.0 } else { node.rejected as f64 / node.reviewed as f64 };
        Self::Workflow(WorkflowNode {
            id: node.id,
            name: node.name,
            role_id: node.role_id,
            role_name: node.role_name,
            role_color: node.role_color,
            is_active: node.is_active,
            rejection_mode: node.rejection_mode,
            stats: Stats {
                total_assignments: node.total_assignments,
                completed_assignments: node.completed_assignments,
                active_annotators: node.active_annotators,
                rejection_rate,
            },
        })
    }
}
