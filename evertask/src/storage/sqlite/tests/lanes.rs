//! What the writer remembers of lanes is what is stored, whatever happens and whoever does it.

use std::{sync::Arc, time::Duration};

use super::{Place, ask, keyed, task};
use crate::{
    policy::Keep,
    storage::{
        AttemptRecord, Claim, ClaimedTask, Due, Inspect, Known, ManualClock, NewTask, NodeId,
        Settlement, Sqlite, Storage, sqlite::lane::Lane,
    },
    task::{AttemptEnd, TaskId},
    verdict::Verdict,
};

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn any_task(dice: &mut Dice) -> NewTask {
    let name = ["a", "b"][dice.roll(2) as usize];
    let mut new = if dice.roll(3) == 0 { keyed(name, "k") } else { task(name) };
    new.priority = dice.roll(2) as i16;
    new.due = match dice.roll(3) {
        0 => Due::Now,
        _ => Due::After(Duration::from_secs(dice.roll(60))),
    };
    new.expires = (dice.roll(4) == 0).then(|| Duration::from_secs(dice.roll(90)));
    new
}

fn any_verdict(dice: &mut Dice) -> Verdict {
    let after = Duration::from_secs(dice.roll(60));
    match dice.roll(8) {
        0 => Verdict::Complete,
        1 => Verdict::Retry { after },
        2 => Verdict::Snooze { after },
        3 => Verdict::Fail,
        4 => Verdict::Release,
        5 => Verdict::Interrupt,
        6 => Verdict::Unreadable { after },
        _ => Verdict::Rescue { started: true, alone: false },
    }
}

async fn step(
    sqlite: &Sqlite,
    dice: &mut Dice,
    ids: &mut Vec<TaskId>,
    held: &mut Vec<ClaimedTask>,
    round: u64,
) {
    let node = NodeId::from_u128(7);
    let some = |dice: &mut Dice, ids: &[TaskId]| ids[dice.roll(ids.len() as u64) as usize];
    match dice.roll(10) {
        0..3 => {
            let tasks: Vec<NewTask> = (0..=dice.roll(3)).map(|_| any_task(dice)).collect();
            let stored = sqlite.enqueue(tasks).await.unwrap();
            ids.extend(stored.iter().map(|stored| stored.id));
        }
        3..6 => {
            let handlers: Arc<[Known]> =
                ["a", "b"].map(|name| Known { name: name.into(), version: 1 }).into();
            let slots = dice.roll(4) as usize;
            let mut claim = Claim::new(round, node, handlers, slots).queue("default", slots, 1);
            claim.suspect = dice.roll(4) == 0;
            held.extend(sqlite.claim(claim).await.unwrap().tasks);
        }
        6..8 => {
            let batch = held.drain(..).map(|task| {
                let mut settlement = Settlement::new(task.id, task.lease, any_verdict(dice));
                settlement.attempt =
                    Some(AttemptRecord::new(node, "1".into(), AttemptEnd::Failed, None));
                settlement
            });
            let batch = batch.collect();
            sqlite.settle(batch).await.unwrap();
        }
        8 if !ids.is_empty() => {
            let id = some(dice, ids);
            match dice.roll(3) {
                0 => drop(sqlite.cancel(id, Keep::For(Duration::from_secs(30))).await.unwrap()),
                _ => drop(sqlite.revive(id).await.unwrap()),
            }
        }
        _ => drop(sqlite.prune(3).await.unwrap()),
    }
}

#[tokio::test]
async fn a_lane_of_a_transaction_that_was_rolled_back_never_was() {
    let place = Place::new();
    let sqlite = place.open().await;
    let lane = |queue: &str| Lane {
        queue: queue.into(),
        name: "a".into(),
        version: 1,
        priority: 0,
        suspect: false,
    };
    ask::<()>(&sqlite, move |tx| {
        tx.lane_number(lane("one"))?;
        Err(rusqlite::Error::InvalidQuery)
    })
    .await
    .unwrap_err();
    for queue in ["two", "one"] {
        let new = NewTask { queue: queue.into(), ..task("a") };
        let id = new.id;
        sqlite.enqueue(vec![new]).await.unwrap();
        assert_eq!(sqlite.task(id).await.unwrap().unwrap().queue, queue);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_remembered_is_what_is_stored() {
    for seed in 0..4 {
        let place = Place::new();
        let clock = ManualClock::new();
        let options = Sqlite::options().durable(false).clock(clock.clock());
        let both = [
            options.clone().open(place.file()).await.unwrap(),
            options.open(place.file()).await.unwrap(),
        ];
        let mut dice = Dice(seed);
        let (mut ids, mut held) = (Vec::new(), Vec::new());
        for round in 1..400 {
            clock.advance(Duration::from_secs(dice.roll(5)));
            let sqlite = &both[dice.roll(2) as usize];
            step(sqlite, &mut dice, &mut ids, &mut held, round).await;
            if dice.roll(20) == 0 {
                ask::<()>(sqlite, |_| Err(rusqlite::Error::InvalidQuery)).await.unwrap_err();
            }
            // Of both: one has just written, the other finds out.
            for sqlite in &both {
                // Told outside: after a panic the writer would forget all that it remembers, right or wrong.
                let wrong = ask(sqlite, |tx| Ok(tx.lanes.wrong(tx.conn))).await.unwrap();
                assert_eq!(wrong, [""; 0], "seed {seed}, round {round}");
            }
        }
        assert!(ids.len() > 100, "too little happened");
    }
}
