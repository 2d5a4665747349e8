//! Running → completed, for what simply completes.

use std::collections::HashSet;

use super::{
    connection::Connection,
    error::Fault,
    literal::{Rows, Table},
    rings::Rings,
    site::Site,
};
use crate::{
    policy::Keep,
    storage::{Settled, Settlement, clock::duration_micros, rules},
    task::TaskState,
    verdict::Verdict,
};

// Running → completed, for what needs no look: the lease is the current one, no cancel was asked for, nothing is written down.
// What does not fit is not touched, and then the number of changed rows is less than expected. That it runs is told by its
// having a node.
pub(super) const COMPLETE: &str = "UPDATE ? AS s STRAIGHT_JOIN {tasks} AS t FORCE INDEX (PRIMARY) ON t.id = s.id SET
    t.state = 2, t.live_key = NULL, t.spent = t.spent + 1, t.started_at = IF(t.begun, t.started_at, @evertask_now - s.ran),
    t.finished_at = @evertask_now, t.prune_at = @evertask_now + s.keep, t.error = NULL, t.output_codec = s.codec, t.output = s.output,
    t.output_error = s.output_error, t.node = NULL, t.claim = NULL, t.begun = 0
    WHERE t.lease = s.lease AND t.node IS NOT NULL AND NOT t.cancel_asked";
pub(super) const COMPLETED: &str =
    "x'' AS id, 0 AS lease, 0 AS ran, 0 AS keep, 0 AS codec, {body} AS output, x'' AS output_error";

/// True if nothing is to be done but to complete the task, should it still be ours and wanted.
fn is_plain(settlement: &Settlement) -> bool {
    settlement.verdict == Verdict::Complete
        && settlement.attempt.is_none()
        && settlement.effects.is_empty()
        && settlement.keep.completed != Keep::No
}

/// Completes what simply completes, in one statement.
pub(super) async fn complete(
    site: &Site,
    conn: &mut Connection,
    all: &[&Settlement],
    told: &mut [Option<Settled>],
) -> Result<(), Fault> {
    let mut met = HashSet::new();
    // The first word about a task counts, so only that may go this way.
    let plain: Vec<usize> =
        (0..all.len()).filter(|at| met.insert(all[*at].id) && is_plain(all[*at])).collect();
    if plain.is_empty() {
        return Ok(());
    }
    // In the order of their ids, as they are locked.
    let mut sorted: Vec<&Settlement> = plain.iter().map(|at| all[*at]).collect();
    sorted.sort_unstable_by_key(|it| it.id);
    let mut rows = Rows::default();
    for it in sorted {
        let keep = match it.keep.completed {
            Keep::Forever => None,
            Keep::For(time) => Some(duration_micros(time)),
            Keep::No => Some(0),
        };
        let output_error = it.output_error.as_deref().map(rules::storable_error);
        rows.push(&[
            &it.id,
            &it.lease,
            &duration_micros(it.ran),
            &keep,
            &it.output.as_ref().map(|output| output.codec),
            &it.output.as_ref().map(|output| &*output.bytes),
            &output_error,
        ]);
    }
    let parts: Vec<_> = rows.parts(conn.part()).collect();
    let alone = parts.len() == 1;
    let mut script = if alone { site.at_now() } else { site.transaction() };
    let places: Vec<_> =
        parts.iter().map(|part| script.add(COMPLETE, &[&Table(COMPLETED, part)])).collect();
    if !alone {
        script.add("COMMIT", &[]);
    }
    let answers = conn.run(script).await?;
    let mut changed = 0;
    for place in places {
        changed += answers.changed(place)?;
    }
    if changed != plain.len() as u64 {
        // Which ones, nobody says. Those that were completed are found so by the look that all the others need.
        return Ok(());
    }
    let mut rings = Rings::default();
    for at in plain {
        rings.ended.insert(all[at].id);
        told[at] = Some(Settled::Applied(TaskState::Completed));
    }
    site.ring(rings);
    Ok(())
}
