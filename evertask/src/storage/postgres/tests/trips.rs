//! How often a batch waits for the server: as often with a thousand tasks as with one, and never more than three times.

use std::sync::Arc;

use super::{fresh, session};
use crate::{
    body::Body,
    policy::Keep,
    storage::{
        AttemptRecord, Claim, ClaimedTask, Dispatched, Effect, Known, NewTask, NodeId, Postgres,
        Settled, Settlement, Storage,
        postgres::{claim::Take, connection::Connection, enqueue::Enqueue, settle::Settle},
        server::Gathered,
    },
    task::{AttemptEnd, TaskId},
    verdict::Verdict,
};

const MANY: usize = 1_000;
const NODE: NodeId = uuid::Uuid::from_u128(7);

fn task() -> NewTask {
    NewTask::new("mail", Body::json(&()).unwrap())
}

fn keyed(key: usize) -> NewTask {
    NewTask { key: Some(key.to_string()), ..task() }
}

fn tagged(task: NewTask) -> NewTask {
    NewTask { tags: [("of".to_owned(), "somebody".to_owned())].into(), ..task }
}

/// What this costs in round trips, once all statements it needs are known to the session.
async fn trips<G: Gathered<crate::storage::postgres::site::Site>>(
    (postgres, conn): (&Postgres, &mut Connection),
    request: G::Request,
) -> (usize, G::Answer) {
    let before = conn.trips();
    let done = G::run(&postgres.0.site, conn, &[&request]).await;
    let answer = done.unwrap_or_else(|fault| panic!("{}: {fault}", G::DOING)).remove(0);
    (conn.trips() - before, answer)
}

/// The same for one and for many, each time after a batch by which the session learns the statements.
async fn enqueued(
    (postgres, conn): (&Postgres, &mut Connection),
    what: &str,
    most: usize,
    how: Dispatched,
    mut tasks: impl FnMut(usize) -> Vec<NewTask>,
) {
    trips::<Enqueue>((postgres, conn), tasks(1)).await;
    for size in [1, MANY] {
        let (trips, told) = trips::<Enqueue>((postgres, conn), tasks(size)).await;
        assert!(trips <= most, "{size} {what}: {trips} round trips");
        assert!(told.len() == size && told.iter().all(|told| told.how == how), "{what}: {told:?}");
    }
}

#[tokio::test]
async fn a_batch_is_stored_in_two_round_trips_whatever_keys_and_tags_it_has() {
    let Some((options, url)) = fresh() else { return };
    let postgres = options.connect(url).await.unwrap();
    let mut session = session(&postgres).await;
    let conn = &mut session;
    let (created, replaced) = (Dispatched::Created, Dispatched::Replaced);
    let each = |make: fn(usize) -> NewTask| move |size| (0..size).map(make).collect::<Vec<_>>();
    enqueued((&postgres, conn), "plain ones", 1, created, each(|_| task())).await;
    enqueued((&postgres, conn), "tagged ones", 1, created, each(|_| tagged(task()))).await;
    let mut key = 0;
    let new = |size: usize| {
        key += size;
        (key - size..key).map(|key| tagged(keyed(key))).collect()
    };
    enqueued((&postgres, conn), "new keys", 2, created, new).await;
    enqueued((&postgres, conn), "replacements", 2, replaced, each(|key| tagged(keyed(key)))).await;
    let again: Vec<NewTask> = (0..MANY).map(keyed).collect();
    trips::<Enqueue>((&postgres, conn), again.clone()).await;
    let same = |size| again[..size].to_vec();
    enqueued((&postgres, conn), "repeated ones", 2, replaced, same).await;
    // Those without keys were first in line.
    conn.script("UPDATE tasks SET state = 2, prune_at = 0 WHERE key IS NULL").await.unwrap();
    claim(&postgres, key).await;
    let existing = Dispatched::Existing;
    enqueued((&postgres, conn), "keys of running tasks", 2, existing, each(keyed)).await;
    let mixed = |size| {
        let tasks = (0..size).map(|n| if n % 2 == 1 { keyed(1_000_000 + n) } else { task() });
        tasks.collect()
    };
    trips::<Enqueue>((&postgres, conn), mixed(MANY)).await;
    let (trips, _) = trips::<Enqueue>((&postgres, conn), mixed(MANY)).await;
    assert!(trips <= 2, "a bit of everything: {trips} round trips");
}

async fn claim(postgres: &Postgres, tasks: usize) -> Vec<ClaimedTask> {
    let id = u64::from_be_bytes(TaskId::new().as_uuid().as_bytes()[..8].try_into().unwrap()) >> 1;
    let claimed = postgres.claim(wish(id, tasks)).await.unwrap().tasks;
    assert_eq!(claimed.len(), tasks);
    claimed
}

fn wish(id: u64, tasks: usize) -> Claim {
    let handlers: Arc<[Known]> = [Known { name: "mail".into(), version: 1 }].into();
    Claim::new(id, NODE, handlers, tasks).queue("default", tasks, 0)
}

fn settlement(task: &ClaimedTask, verdict: Verdict) -> Settlement {
    let end = match verdict {
        Verdict::Complete | Verdict::Release => None,
        _ => Some(AttemptEnd::Failed),
    };
    let attempt = end.map(|end| AttemptRecord::new(NODE, "1.0.0".into(), end, None));
    Settlement { attempt, ..Settlement::new(task.id, task.lease, verdict) }
}

#[tokio::test]
async fn a_batch_is_settled_in_three_round_trips_whatever_its_verdicts_and_effects() {
    let Some((options, url)) = fresh() else { return };
    let postgres = options.connect(url).await.unwrap();
    let mut session = session(&postgres).await;
    let conn = &mut session;
    let after = std::time::Duration::from_secs(3_600);
    let verdicts = [
        Verdict::Complete,
        Verdict::Fail,
        Verdict::Cancel { reason: "no".to_owned() },
        Verdict::Retry { after },
        Verdict::Snooze { after },
        Verdict::Unreadable { after },
        Verdict::Release,
        Verdict::Interrupt,
        Verdict::Rescue { started: true, alone: false },
    ];
    type Make<'v> = Box<dyn Fn(usize, &ClaimedTask) -> Settlement + 'v>;
    let mut kinds: Vec<(String, usize, Make<'_>)> = vec![(
        "of every kind".to_owned(),
        3,
        Box::new(|n, task| settlement(task, verdicts[n % verdicts.len()].clone())),
    )];
    for verdict in &verdicts {
        let most = if *verdict == Verdict::Complete { 1 } else { 2 };
        let make: Make<'_> = Box::new(|_, task| settlement(task, verdict.clone()));
        kinds.push((format!("{verdict:?}"), most, make));
    }
    let mut keys = 0;
    for (what, effect) in [("an effect", None), ("a keyed effect", Some("key"))] {
        keys += 1_000_000;
        let make: Make<'_> = Box::new(move |n, task| {
            let effect = tagged(NewTask {
                name: "later".into(),
                key: effect.map(|_| (keys + n).to_string()),
                ..self::task()
            });
            let effects = vec![Effect::Enqueue(Box::new(effect))];
            Settlement { effects, ..settlement(task, Verdict::Complete) }
        });
        kinds.push((what.to_owned(), 2, make));
    }
    let make: Make<'_> = Box::new(|_, task| {
        let mut done = settlement(task, Verdict::Complete);
        done.keep.completed = Keep::No;
        done
    });
    kinds.push(("ephemeral ones".to_owned(), 2, make));
    for (what, most, make) in kinds {
        // By the first of them the session learns its statements.
        for size in [20, 1, MANY] {
            let new = (0..size).map(|_| task()).collect();
            postgres.enqueue(new).await.unwrap();
            let claimed = claim(&postgres, size).await;
            let batch = claimed.iter().enumerate().map(|(n, task)| make(n, task)).collect();
            let (trips, told) = trips::<Settle>((&postgres, conn), batch).await;
            assert!(
                told.iter().all(|told| matches!(told, Settled::Applied(_))),
                "{what}: {told:?}"
            );
            assert!(size == 20 || trips <= most, "{size} settlements, {what}: {trips} round trips");
            // What is pending again is not in the way of the next.
            conn.script("UPDATE tasks SET state = 2, prune_at = 0 WHERE state = 0").await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_claim_is_one_round_trip() {
    let Some((options, url)) = fresh() else { return };
    let postgres = options.connect(url).await.unwrap();
    let mut session = session(&postgres).await;
    let conn = &mut session;
    postgres.enqueue((0..2_000).map(|_| task()).collect()).await.unwrap();
    for (id, size) in [(1, 1), (2, 1), (3, MANY)] {
        let (trips, claimed) = trips::<Take>((&postgres, conn), wish(id, size)).await;
        assert_eq!((trips, claimed.tasks.len()), (1, size));
    }
}
