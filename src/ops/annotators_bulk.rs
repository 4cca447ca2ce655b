//! Many annotators at once, all or nothing, in a handful of statements however many there are.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::{Error, Issue, Result, assignments, jobs::RemoveInstance, parse};
use crate::{
    domain::{
        AnnotatorId, RoleId,
        check::Checks,
        fields::{AnnotatorFields, Fields, free_subdomains, subdomain_base},
    },
    queue::{self, Tx},
    store::{
        annotators::{self, Annotator},
        roles,
    },
};

/// One call takes no more.
pub const MAX: usize = 100;

/// Creates all of them, or says of each what is wrong, as `annotators[3].email`.
pub async fn create(queue: &queue::Client, given: Vec<Value>) -> Result<Vec<Annotator>> {
    check_length("annotators", given.len())?;
    let all = read(given)?;
    let taken = doubles(&all);
    if !taken.is_empty() {
        return Err(Error::Taken(taken));
    }
    let mut tx = queue.begin().await?;
    refuse_unknown_roles(&mut tx, &all).await?;
    let emails: Vec<String> = all.iter().map(|fields| fields.email.to_lowercase()).collect();
    let known: HashSet<String> = annotators::known_emails(&mut tx, &emails).await?.into_iter().collect();
    let taken = emails.iter().enumerate().filter(|(_, email)| known.contains(*email));
    let taken: Vec<Issue> = taken.map(|(index, email)| at(index, "email", in_use(email))).collect();
    if !taken.is_empty() {
        return Err(Error::Taken(taken));
    }
    let ids = insert(&mut tx, &all).await?;
    let created = annotators::of(&mut tx, &ids).await?;
    tx.commit().await?;
    Ok(created)
}

/// Inserts under free subdomains: `alice`, `alice-2`, `alice-3` …
pub(super) async fn insert(tx: &mut Tx, all: &[AnnotatorFields]) -> Result<Vec<AnnotatorId>> {
    let bases: Vec<String> = all.iter().map(|fields| subdomain_base(&fields.name)).collect();
    let mut ids: Vec<Option<AnnotatorId>> = vec![None; all.len()];
    loop {
        let open: Vec<usize> = (0..all.len()).filter(|index| ids.get(*index) == Some(&None)).collect();
        if open.is_empty() {
            return Ok(ids.into_iter().flatten().collect());
        }
        let taken = annotators::subdomains(tx, &bases).await?.into_iter().collect();
        let wanted: Vec<(&AnnotatorFields, &str)> =
            open.iter().filter_map(|index| Some((all.get(*index)?, bases.get(*index)?.as_str()))).collect();
        let subdomains = free_subdomains(wanted.iter().map(|(_, base)| *base), taken);
        let rows: Vec<_> = wanted.iter().map(|(fields, _)| *fields).zip(&subdomains).collect();
        let inserted: HashMap<String, AnnotatorId> = annotators::insert(tx, &rows).await?;
        // Missing: another transaction took the subdomain first, and the next look sees that.
        for (index, subdomain) in open.into_iter().zip(&subdomains) {
            if let Some(place) = ids.get_mut(index) {
                *place = inserted.get(subdomain).copied();
            }
        }
    }
}

/// Deletes all of them: their open batches go back to the pool, their instances are removed by jobs.
pub async fn delete(queue: &queue::Client, ids: &[AnnotatorId]) -> Result<usize> {
    check_length("ids", ids.len())?;
    let mut distinct = ids.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let mut tx = queue.begin().await?;
    assignments::cancel_open(&mut tx, &distinct).await?;
    let deleted: HashSet<AnnotatorId> =
        annotators::mark_deleted(&mut tx, &distinct).await?.into_iter().collect();
    let absent = ids.iter().enumerate().filter(|(_, id)| !deleted.contains(id));
    let absent: Vec<Issue> = absent
        .map(|(index, id)| Issue { path: format!("ids[{index}]"), message: format!("no annotator {id}") })
        .collect();
    if !absent.is_empty() {
        return Err(Error::Absent(absent));
    }
    let jobs: Vec<_> = distinct.iter().map(|&annotator_id| RemoveInstance { annotator_id }).collect();
    tx.enqueue_many(&jobs).await?;
    tx.commit().await?;
    Ok(deleted.len())
}

fn check_length(path: &str, length: usize) -> Result<()> {
    let mut checks = Checks::default();
    checks.require(path, (1..=MAX).contains(&length), format!("must hold 1 to {MAX}"));
    checks.done().map_err(Error::Invalid)
}

fn read(given: Vec<Value>) -> Result<Vec<AnnotatorFields>> {
    let (mut all, mut issues) = (Vec::new(), Vec::new());
    for (index, value) in given.into_iter().enumerate() {
        let read = parse::value::<AnnotatorFields>(value);
        match read.and_then(|fields| fields.check().map(|()| fields).map_err(Error::Invalid)) {
            Ok(fields) => all.push(fields),
            Err(Error::Invalid(wrong)) => {
                issues.extend(wrong.into_iter().map(|issue| at(index, &issue.path, issue.message)));
            }
            Err(other) => return Err(other),
        }
    }
    if issues.is_empty() { Ok(all) } else { Err(Error::Invalid(issues)) }
}

/// Emails that stand more than once in the batch, at their later places.
fn doubles(all: &[AnnotatorFields]) -> Vec<Issue> {
    let mut first = HashMap::new();
    let mut doubles = Vec::new();
    for (index, fields) in all.iter().enumerate() {
        let email = fields.email.to_lowercase();
        match first.get(&email) {
            Some(before) => {
                doubles.push(at(index, "email", format!("{email} is annotators[{before}]'s too")));
            }
            None => drop(first.insert(email, index)),
        }
    }
    doubles
}

async fn refuse_unknown_roles(tx: &mut Tx, all: &[AnnotatorFields]) -> Result<()> {
    let wanted: Vec<RoleId> = all.iter().filter_map(|fields| fields.role_id).collect();
    let known: HashSet<RoleId> = roles::known(tx, &wanted).await?.into_iter().collect();
    let is_unknown = |fields: &AnnotatorFields| fields.role_id.is_some_and(|role| !known.contains(&role));
    let issues: Vec<Issue> = (all.iter().enumerate().filter(|(_, fields)| is_unknown(fields)))
        .map(|(index, _)| at(index, "roleId", "no such role".to_owned()))
        .collect();
    if issues.is_empty() { Ok(()) } else { Err(Error::Invalid(issues)) }
}

fn in_use(email: &str) -> String {
    format!("an annotator with the email {email} exists already")
}

fn at(index: usize, field: &str, message: String) -> Issue {
    let dot = if field.is_empty() { "" } else { "." };
    Issue { path: format!("annotators[{index}]{dot}{field}"), message }
}
