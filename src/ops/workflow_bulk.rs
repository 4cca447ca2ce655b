//! Several workflows at once, all or none. They may name each other before they have ids: by their place in the
//! list, in `previousWorkflowIndex` and `rejectionRouteWorkflowIndex`.

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, schema::Type},
};

use super::{
    Error, Issue, Result, parse,
    workflows::{check_references, fill_pools},
};
use crate::{
    domain::{chain::circle, check::Checks, fields::WorkflowFields},
    lock::{Key, lock_in},
    queue,
    store::workflows::{self, Workflow},
};

const MOST: usize = 50;

/// A workflow to create, with the places in the list of the workflows that it hangs on.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct BulkWorkflow(Map<String, Value>);

const PREVIOUS: [&str; 2] = ["previousWorkflowIndex", "previousWorkflowId"];
const ROUTE: [&str; 2] = ["rejectionRouteWorkflowIndex", "rejectionRouteWorkflowId"];

/// The fields of a workflow and the two places.
impl PartialSchema for BulkWorkflow {
    fn schema() -> RefOr<Schema> {
        let mut schema = WorkflowFields::schema();
        if let RefOr::T(Schema::Object(object)) = &mut schema {
            for [index, id] in [PREVIOUS, ROUTE] {
                let place = ObjectBuilder::new()
                    .schema_type(Type::Integer)
                    .minimum(Some(0))
                    .description(Some(format!("Instead of `{id}`: the place in this list, from 0.")));
                object.properties.insert(index.to_owned(), place.into());
            }
        }
        schema
    }
}

impl ToSchema for BulkWorkflow {
    fn name() -> std::borrow::Cow<'static, str> {
        "BulkWorkflowInput".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        WorkflowFields::schemas(schemas);
    }
}

struct Entry {
    fields: WorkflowFields,
    previous: Option<usize>,
    route: Option<usize>,
}

pub async fn create(queue: &queue::Client, list: Vec<BulkWorkflow>) -> Result<Vec<Workflow>> {
    let mut checks = Checks::default();
    checks.require("workflows", (1..=MOST).contains(&list.len()), format!("1 to {MOST} workflows"));
    checks.done().map_err(Error::Invalid)?;
    let count = list.len();
    let (mut entries, mut issues) = (Vec::with_capacity(count), Vec::new());
    for (place, entry) in list.into_iter().enumerate() {
        match read(entry, place, count) {
            Ok(entry) => entries.push(entry),
            Err(Error::Invalid(found)) => issues.extend(found.into_iter().map(|issue| under(place, issue))),
            Err(other) => return Err(other),
        }
    }
    if issues.is_empty() {
        let previous: Vec<Option<usize>> = entries.iter().map(|entry| entry.previous).collect();
        if let Some(way) = circle(&previous) {
            let place = way.first().copied().unwrap_or_default();
            let way: Vec<String> = way.iter().map(|place| format!("workflows[{place}]")).collect();
            let message = format!("a workflow can't come before itself: {}", way.join(" -> "));
            issues.push(under(place, Issue { path: PREVIOUS[0].into(), message }));
        }
    }
    let mut tx = queue.begin().await?;
    lock_in(&mut tx, Key::Chains).await?;
    let all: Vec<&WorkflowFields> = entries.iter().map(|entry| &entry.fields).collect();
    // Only where the entries' places are the list's.
    if all.len() == count {
        let found = check_references(&mut tx, &all).await?;
        issues.extend(found.into_iter().map(|(place, issue)| under(place, issue)));
    }
    if !issues.is_empty() {
        return Err(Error::Invalid(issues));
    }
    // Their ids come first, so that whatever way they point at each other, one statement inserts them.
    let ids = workflows::new_ids(&mut tx, count).await?;
    let id = |place: Option<usize>| place.and_then(|place| ids.get(place)).copied();
    for entry in &mut entries {
        let Entry { fields, previous, route } = entry;
        fields.previous_workflow_id = fields.previous_workflow_id.or(id(*previous));
        fields.rejection_route_workflow_id = fields.rejection_route_workflow_id.or(id(*route));
    }
    let new: Vec<_> = ids.iter().copied().zip(entries.iter().map(|entry| &entry.fields)).collect();
    workflows::insert(&mut tx, &new).await?;
    fill_pools(&mut tx, &new).await?;
    let created = workflows::get_many(&mut tx, &ids).await?;
    tx.commit().await?;
    Ok(created)
}

fn read(BulkWorkflow(mut given): BulkWorkflow, own: usize, count: usize) -> Result<Entry> {
    let mut checks = Checks::default();
    let mut place = |[index, id]: [&'static str; 2]| {
        let value = given.remove(index).filter(|value| !value.is_null())?;
        let place = value.as_u64().and_then(|place| usize::try_from(place).ok());
        let is_given = given.get(id).is_some_and(|id| !id.is_null());
        checks.require(index, !is_given, format!("either {index} or {id}, not both"));
        checks.require(
            index,
            place.is_some_and(|place| place < count),
            format!("must be the place of a workflow in this list, from 0 to {}", count - 1),
        );
        place
    };
    let (previous, route) = (place(PREVIOUS), place(ROUTE));
    checks.require(ROUTE[0], route != Some(own), "a workflow can't rework what it rejects itself");
    let mut issues = checks.done().err().unwrap_or_default();
    match parse::value::<WorkflowFields>(Value::Object(given)) {
        Ok(fields) => {
            issues.extend(fields.issues(route.is_some()));
            if issues.is_empty() {
                Ok(Entry { fields, previous, route })
            } else {
                Err(Error::Invalid(issues))
            }
        }
        Err(Error::Invalid(misfits)) => {
            issues.extend(misfits);
            Err(Error::Invalid(issues))
        }
        Err(other) => Err(other),
    }
}

fn under(place: usize, issue: Issue) -> Issue {
    Issue { path: format!("workflows[{place}].{}", issue.path), message: issue.message }
}
