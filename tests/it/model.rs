//! Each storage in step with the reference: whatever is asked, in whatever order, all give the same answers.

use std::{fmt::Debug, sync::Arc, time::Duration};

use evertask::{
    AttemptEnd, Body, Keep, TaskId,
    storage::{
        AttemptRecord, Beat, Claim, ClaimedTask, Due, Effect, FullStorage, Inspect, KeepBy, Known,
        Life, Lost, ManualClock, Memory, NewTask, Node, NodeId, Page, Peer, Settlement, Sqlite,
        Storage, StorageError, TaskFilter,
    },
    verdict::Verdict,
};

/// Numbers that look random and are the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        (!all.is_empty()).then(|| &all[self.roll(all.len() as u64) as usize])
    }

    fn seconds(&mut self, most: u64) -> Duration {
        Duration::from_secs(self.roll(most))
    }

    fn keep(&mut self) -> Keep {
        match self.roll(4) {
            0 => Keep::Forever,
            1 => Keep::No,
            _ => Keep::For(self.seconds(200)),
        }
    }

    fn task(&mut self) -> NewTask {
        let name = ["a", "b", "unknown"][self.roll(3) as usize];
        let mut task = NewTask::new(name, Body::json(&self.roll(1_000)).unwrap());
        task.queue = ["default", "mail"][self.roll(2) as usize].into();
        task.priority = [0, 0, -3, 7][self.roll(4) as usize];
        task.version = 1 + self.roll(2) as u32;
        task.key = (self.roll(3) == 0).then(|| format!("key {}", self.roll(4)));
        task.due = if self.roll(2) == 0 { Due::Now } else { Due::After(self.seconds(60)) };
        task.expires = (self.roll(5) == 0).then(|| self.seconds(120));
        task.retries = (self.roll(3) == 0).then(|| self.roll(5) as u32);
        task.timeout = [None, Some(None), Some(Some(self.seconds(9)))][self.roll(3) as usize];
        for n in 0..self.roll(3) {
            task.tags.insert(format!("tag {n}"), format!("{}", self.roll(3)));
        }
        task
    }

    fn verdict(&mut self) -> Verdict {
        let after = self.seconds(60);
        match self.roll(12) {
            0..3 => Verdict::Complete,
            3 => Verdict::Retry { after },
            4 => Verdict::Snooze { after },
            5 => Verdict::Fail,
            6 => Verdict::Cancel { reason: "not wanted".into() },
            7 => Verdict::Release,
            8 => Verdict::Interrupt,
            9 => Verdict::Unreadable { after },
            _ => Verdict::Rescue { started: self.roll(4) > 0, alone: self.roll(3) == 0 },
        }
    }

    fn settlement(&mut self, task: &ClaimedTask, node: NodeId) -> Settlement {
        let mut settlement = Settlement::new(task.id, task.lease, self.verdict());
        settlement.keep =
            KeepBy { completed: self.keep(), failed: self.keep(), cancelled: self.keep() };
        settlement.ran = self.seconds(30);
        if settlement.verdict == Verdict::Complete {
            settlement.output = (self.roll(2) == 0).then(|| Body::json(&"done").unwrap());
            settlement.output_error = (self.roll(9) == 0).then(|| "too large".into());
            if self.roll(3) == 0 {
                settlement.effects.push(Effect::Enqueue(Box::new(self.task())));
            }
        } else if self.roll(4) > 0 {
            let end = AttemptEnd::ALL[self.roll(8) as usize];
            let mut attempt = AttemptRecord::new(node, "1.0.0".into(), end, None);
            attempt.error = (self.roll(2) == 0).then(|| format!("error {}", self.roll(3)));
            attempt.fingerprint = (self.roll(2) == 0).then(|| u64::MAX - self.roll(2));
            settlement.attempt = Some(attempt);
        }
        settlement
    }
}

/// The reference and another storage on one clock.
struct Pair {
    reference: Memory,
    other: Arc<dyn FullStorage>,
    clock: ManualClock,
    nodes: Vec<NodeId>,
    ids: Vec<TaskId>,
    held: Vec<(NodeId, ClaimedTask)>,
    settled: Vec<Settlement>,
    claims: u64,
}

/// The same call to both, the same answer from both.
macro_rules! both {
    ($pair:expr, $storage:ident => $call:expr) => {{
        let $storage = &$pair.reference;
        let expected = $call.await.unwrap();
        let $storage = &*$pair.other;
        let answer = $call.await.unwrap();
        same(&expected, &answer, stringify!($call));
        expected
    }};
}

/// Takes over from a node as one that has just seen it die.
async fn seize_from(
    storage: &dyn FullStorage,
    from: NodeId,
    by: NodeId,
    limit: usize,
) -> Result<Vec<Lost>, StorageError> {
    if !storage.needs_beats() {
        storage.leave(from).await?;
    }
    let seen = storage.peers(by).await?.into_iter().find(|peer| peer.node == from);
    storage.seize(seen.unwrap_or_else(|| Peer::new(from, Life::Dead)), by, limit).await
}

#[track_caller]
fn same(expected: &impl Debug, answer: &impl Debug, call: &str) {
    let (expected, answer) = (format!("{expected:#?}"), format!("{answer:#?}"));
    let pairs = expected.lines().zip(answer.lines());
    let at = pairs.take_while(|(expected, answer)| expected == answer).count();
    assert!(
        expected == answer,
        "{call}: from line {at} on the reference says {expected}\nthe other {answer}"
    );
}

impl Pair {
    async fn step(&mut self, dice: &mut Dice) {
        self.clock.advance(dice.seconds(6));
        let node = *dice.one_of(&self.nodes).unwrap();
        match dice.roll(20) {
            0..5 => {
                let tasks: Vec<NewTask> = (0..=dice.roll(3)).map(|_| dice.task()).collect();
                let stored = both!(self, storage => storage.enqueue(tasks.clone()));
                self.ids.extend(stored.iter().map(|stored| stored.id));
                if dice.roll(4) == 0 {
                    both!(self, storage => storage.enqueue(tasks.clone()));
                }
            }
            5..10 => self.claim(node, dice).await,
            10..14 => self.settle(dice).await,
            14 => {
                let Some(id) = dice.one_of(&self.ids).copied() else { return };
                let keep = dice.keep();
                both!(self, storage => storage.cancel(id, keep));
            }
            15 => {
                let Some(id) = dice.one_of(&self.ids).copied() else { return };
                both!(self, storage => storage.revive(id));
            }
            16 => {
                let mut beat = Beat::new(node);
                beat.begun = self.held.iter().map(|(_, task)| (task.id, task.lease)).collect();
                beat.begun.retain(|_| dice.roll(2) == 0);
                both!(self, storage => storage.renew(beat.clone()));
            }
            17 => {
                let from = *dice.one_of(&self.nodes).unwrap();
                let limit = 1 + dice.roll(4) as usize;
                both!(self, storage => seize_from(storage, from, node, limit));
            }
            _ => {
                let (mut one, mut two) = (
                    self.reference.prune(1_000).await.unwrap(),
                    self.other.prune(1_000).await.unwrap(),
                );
                one.expired.sort_by_key(|ended| ended.id);
                two.expired.sort_by_key(|ended| ended.id);
                same(&one, &two, "prune");
            }
        }
    }

    async fn claim(&mut self, node: NodeId, dice: &mut Dice) {
        self.claims += u64::from(dice.roll(8) > 0);
        let version = 1 + dice.roll(2) as u32;
        let handlers: Arc<[Known]> =
            ["a", "b"].map(|name| Known { name: name.into(), version }).into();
        let mut claim = Claim::new(self.claims.max(1), node, handlers, dice.roll(6) as usize)
            .queue("mail", dice.roll(4) as usize, dice.roll(3) as usize)
            .queue("default", dice.roll(4) as usize, dice.roll(3) as usize);
        claim.suspect = dice.roll(4) == 0;
        claim.keep_expired = dice.keep();
        let claimed = both!(self, storage => storage.claim(claim.clone()));
        self.held.extend(claimed.tasks.into_iter().map(|task| (node, task)));
    }

    async fn settle(&mut self, dice: &mut Dice) {
        let mut batch = Vec::new();
        while let Some(at) = self.held.len().checked_sub(1) {
            let (node, task) = self.held.swap_remove(dice.roll(at as u64 + 1) as usize);
            batch.push(dice.settlement(&task, node));
            if dice.roll(3) == 0 {
                break;
            }
        }
        // And some that were settled before, as after a lost answer.
        batch.extend(dice.one_of(&self.settled).cloned());
        both!(self, storage => storage.settle(batch.clone()));
        self.settled.extend(batch);
        for id in self.settled.iter().flat_map(|settlement| &settlement.effects) {
            let Effect::Enqueue(task) = id else { continue };
            self.ids.push(task.id);
        }
        self.ids.sort_unstable();
        self.ids.dedup();
    }

    async fn compare_all(&self) {
        for id in self.ids.iter().copied() {
            both!(self, storage => storage.task(id));
        }
        let mut filters = vec![TaskFilter::default(); 5];
        filters[0].tag = Some(("tag 0".into(), "1".into()));
        filters[1].key_prefix = Some("key ".into());
        filters[2].name = Some("a".into());
        filters[3].fingerprint = Some(u64::MAX);
        for filter in filters {
            let page = Page { before: None, limit: 100 };
            both!(self, storage => storage.tasks(filter.clone(), page));
        }
        both!(self, storage => storage.counts());
        both!(self, storage => storage.backlog());
    }
}

async fn walk(seed: u64, clock: ManualClock, other: Arc<dyn FullStorage>) {
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let reference = Memory::with_clock(clock.clock());
    let nodes = (0..3).map(|_| Node::new(Arc::new([]), Vec::new()));
    let nodes: Vec<Node> = nodes.collect();
    for node in &nodes {
        reference.join(node.clone()).await.unwrap();
        other.join(node.clone()).await.unwrap();
    }
    let nodes = nodes.into_iter().map(|node| node.id).collect();
    let (ids, held, settled) = (Vec::new(), Vec::new(), Vec::new());
    let mut pair = Pair { reference, other, clock, nodes, ids, held, settled, claims: 0 };
    for round in 0..400 {
        pair.step(&mut dice).await;
        if round % 40 == 0 {
            pair.compare_all().await;
        }
    }
    pair.compare_all().await;
    assert!(pair.ids.len() > 100 && pair.settled.len() > 50, "too little happened");
}

/// A few walks, always the same; as many as `EVERTASK_TEST_WALKS` says, to search for more.
fn seeds() -> std::ops::Range<u64> {
    let walks = std::env::var("EVERTASK_TEST_WALKS").ok();
    0..walks.and_then(|walks| walks.parse().ok()).unwrap_or(8)
}

#[tokio::test]
async fn sqlite_goes_with_the_reference() {
    for seed in seeds() {
        let place = tempfile::tempdir().unwrap();
        let clock = ManualClock::new();
        let options = Sqlite::options().durable(false).clock(clock.clock());
        let sqlite = options.open(place.path().join("tasks.db")).await.unwrap();
        walk(seed, clock, Arc::new(sqlite)).await;
    }
}
