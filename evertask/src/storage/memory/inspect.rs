//! Reads: for people, so listings and counts may walk over everything.

use std::collections::BTreeMap;

use super::{
    row::Row,
    table::{Announced, Table},
};
use crate::{
    bounds::PAGE_MAX,
    storage::{
        Backlog, Count, NodeId, NodeInfo, Page, Roll, TaskFilter,
        clock::{from_micros, to_micros},
        rules,
    },
    task::{TaskId, TaskInfo},
};

/// How far due tasks are counted.
const BACKLOG_COUNTED: usize = 10_000;

impl Table {
    pub(super) fn tasks(&self, filter: &TaskFilter, page: Page) -> Vec<TaskInfo> {
        let end = page.before.unwrap_or(TaskId::from_uuid(uuid::Uuid::max()));
        self.rows
            .range(..end)
            .rev()
            .map(|(_, row)| row)
            .filter(|row| matches(row, filter))
            .take(page.limit.clamp(1, PAGE_MAX))
            .map(|row| row.info(false))
            .collect()
    }

    pub(super) fn counts(&self) -> Vec<Count> {
        let mut counts: BTreeMap<_, u64> = BTreeMap::new();
        for row in self.rows.values() {
            *counts.entry((&row.queue, &row.name, row.state)).or_default() += 1;
        }
        counts
            .into_iter()
            .map(|((queue, name, state), tasks)| Count {
                queue: queue.as_ref().into(),
                name: name.as_ref().into(),
                state,
                tasks,
            })
            .collect()
    }

    pub(super) fn roll(&self, now: i64) -> Roll {
        let info = |(id, announced): (&NodeId, &Announced)| {
            let quiet = rules::between(announced.beat_at, now);
            let info = NodeInfo::new(*id, from_micros(announced.joined));
            let Some(node) = &announced.node else { return info.with_life(quiet, None) };
            let info = NodeInfo {
                host: node.host.clone(),
                pid: node.pid,
                binary: node.binary.clone(),
                handlers: node.handlers.to_vec(),
                queues: node.queues.clone(),
                ..info
            };
            info.with_life(quiet, Some(node.lease))
        };
        Roll::new(from_micros(now), self.nodes.iter().map(info).collect())
    }

    pub(super) fn backlog(&self, now: i64) -> Vec<Backlog> {
        let mut all: BTreeMap<_, (usize, i64)> = BTreeMap::new();
        for due in self.index.lanes.backlog(now, BACKLOG_COUNTED) {
            let (count, oldest) =
                all.entry((due.queue, due.name, due.version)).or_insert((0, due.oldest));
            *count = (*count + due.count).min(BACKLOG_COUNTED);
            *oldest = due.oldest.min(*oldest);
        }
        all.into_iter()
            .map(|((queue, name, version), (count, oldest))| Backlog {
                queue: queue.to_owned(),
                name: name.to_owned(),
                version,
                due: count as u64,
                oldest: rules::between(oldest, now),
            })
            .collect()
    }
}

fn matches(row: &Row, filter: &TaskFilter) -> bool {
    let TaskFilter { name, queue, state, tag, key_prefix, created_from, created_to, fingerprint } =
        filter;
    let key_begins = |prefix: &String| {
        row.rare.key.as_deref().is_some_and(|key| key.starts_with(prefix.as_str()))
    };
    let failed_so =
        |print: u64| row.rare.attempts.iter().any(|attempt| attempt.fingerprint == Some(print));
    name.as_deref().is_none_or(|name| *row.name == *name)
        && queue.as_deref().is_none_or(|queue| *row.queue == *queue)
        && state.is_none_or(|state| row.state == state)
        && tag.as_ref().is_none_or(|(key, value)| row.rare.tags.get(key) == Some(value))
        && key_prefix.as_ref().is_none_or(key_begins)
        && created_from.is_none_or(|from| row.created >= to_micros(from))
        && created_to.is_none_or(|to| row.created < to_micros(to))
        && fingerprint.is_none_or(failed_so)
}
