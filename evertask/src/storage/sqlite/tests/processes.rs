//! Several that use one file: in one process, and in two.

use std::{
    collections::HashSet,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{Place, claim, number, task};
use crate::{
    storage::{
        Beat, Inspect, Known, Life, Node, NodeId, Settled, Settlement, Sqlite, Storage,
        sqlite::{liveness::Liveness, watch::Eye},
    },
    task::TaskState,
    verdict::Verdict,
};

fn node() -> Node {
    let handlers: Arc<[Known]> = [Known { name: "a".into(), version: 1 }].into();
    Node::new(handlers, vec!["default".into()])
}

#[tokio::test]
async fn two_on_one_file_see_what_the_other_writes() {
    let place = Place::new();
    let (one, two) = (place.open().await, place.open().await);
    let me = NodeId::from_u128(1);
    assert_eq!(claim(&one, me, 1, &["a"], 5).await.len(), 0);
    // Into a lane that the first one has never seen, and then into one it believes to be empty.
    for round in 2..4 {
        two.enqueue(vec![task("a")]).await.unwrap();
        assert_eq!(claim(&one, me, round, &["a"], 5).await.len(), 1);
        assert_eq!(claim(&two, NodeId::from_u128(2), round, &["a"], 5).await.len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_on_one_file_share_the_tasks_and_lose_none() {
    const TASKS: usize = 400;
    let place = Place::new();
    let mut working = Vec::new();
    let done = Arc::new(AtomicUsize::new(0));
    for n in 0..4_u128 {
        let (sqlite, done) = (place.open().await, Arc::clone(&done));
        working.push(tokio::spawn(async move {
            let mut mine = Vec::new();
            let mut round = 0;
            for _ in 0..TASKS / 40 {
                sqlite.enqueue((0..10).map(|_| task("a")).collect()).await.unwrap();
            }
            while done.load(Ordering::SeqCst) < TASKS {
                round += 1;
                let tasks = claim(&sqlite, NodeId::from_u128(n), round, &["a"], 7).await;
                let ends = tasks
                    .iter()
                    .map(|task| Settlement::new(task.id, task.lease, Verdict::Complete));
                for settled in sqlite.settle(ends.collect()).await.unwrap() {
                    assert_eq!(settled, Settled::Applied(TaskState::Completed));
                }
                done.fetch_add(tasks.len(), Ordering::SeqCst);
                mine.extend(tasks.into_iter().map(|task| task.id));
            }
            mine
        }));
    }
    let mut all = Vec::new();
    for work in working {
        all.extend(work.await.unwrap());
    }
    assert_eq!(all.len(), TASKS);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), TASKS, "a task was handed out twice");
}

#[tokio::test]
async fn a_node_lives_as_long_as_its_storage_and_until_it_leaves() {
    let place = Place::new();
    let (one, two) = (place.open().await, place.open().await);
    let (me, other) = (node(), node());
    one.join(me.clone()).await.unwrap();
    two.join(other.clone()).await.unwrap();
    one.enqueue(vec![task("a")]).await.unwrap();
    assert_eq!(one.peers(me.id).await.unwrap(), [], "it holds nothing");
    claim(&two, other.id, 1, &["a"], 1).await;
    let life = async |sqlite: &Sqlite| sqlite.peers(me.id).await.unwrap()[0].life;
    assert_eq!(life(&one).await, Life::Alive);
    // Seen from the same storage as well, where the lock is our own.
    assert_eq!(life(&two).await, Life::Alive);
    assert_eq!(number(&one, "SELECT count(*) FROM evertask_nodes").await, 2);

    two.leave(other.id).await.unwrap();
    let files = std::fs::read_dir(place.0.path().join("tasks.db-nodes")).unwrap();
    assert_eq!(files.count(), 1, "it left its lock file behind");
    assert_eq!(life(&one).await, Life::Dead);
    assert_eq!(number(&one, "SELECT count(*) FROM evertask_nodes").await, 1);
    two.join(other.clone()).await.unwrap();
    assert_eq!(life(&one).await, Life::Alive);
    let lock = place.0.path().join(format!("tasks.db-nodes/{}.lock", other.id));
    std::fs::remove_file(lock).unwrap();
    assert_eq!(life(&one).await, Life::Dead, "nothing says that it lives");
    two.renew(Beat::new(other.id)).await.unwrap();
    assert_eq!(life(&one).await, Life::Alive, "it said so itself");
    two.close().await;
    assert_eq!(life(&one).await, Life::Dead);
    // What nobody signed off is forgotten by whoever sees that it is dead.
    assert_eq!(number(&one, "SELECT count(*) FROM evertask_nodes").await, 1);
}

#[test]
fn looking_never_makes_a_node_that_joins_seem_dead() {
    let place = Place::new();
    let looking = Liveness::beside(&place.file());
    for n in 0..300 {
        let node = NodeId::from_u128(n);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..20 {
                    let _either = looking.is_alive(node).unwrap();
                }
            });
            let joining = Liveness::beside(&place.file());
            joining.join(node).unwrap();
            assert!(looking.is_alive(node).unwrap(), "it was dead right after it joined");
            assert!(looking.living().unwrap().contains(&node));
        });
        assert!(!looking.is_alive(node).unwrap());
    }
    assert_eq!(std::fs::read_dir(place.0.path().join("tasks.db-nodes")).unwrap().count(), 0);
}

#[test]
fn those_who_look_do_not_take_each_other_for_the_node() {
    let place = Place::new();
    let liveness = Liveness::beside(&place.file());
    let (living, dead) = (NodeId::from_u128(1), NodeId::from_u128(2));
    liveness.join(living).unwrap();
    std::fs::write(place.0.path().join(format!("tasks.db-nodes/{dead}.lock")), "").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    assert!(!liveness.is_held(dead).unwrap());
                    assert!(liveness.is_held(living).unwrap());
                }
            });
        }
    });
}

#[tokio::test]
async fn a_look_at_the_log_rings_only_for_what_others_wrote() {
    let place = Place::new();
    let (one, two) = (place.open().await, place.open().await);
    let mut eye = Eye::new(&place.file());
    let mut orders = one.0.bell.listen_orders();
    one.enqueue(vec![task("a")]).await.unwrap();
    eye.look(&one.0);
    // Asked for after the look, so answered after it.
    number(&one, "SELECT 1").await;
    assert!(!orders.has_changed().unwrap(), "it rang for our own write");

    two.enqueue(vec![task("a")]).await.unwrap();
    eye.look(&one.0);
    let rung = tokio::time::timeout(std::time::Duration::from_secs(20), orders.changed()).await;
    rung.expect("it did not ring for the write of another").unwrap();

    assert!(!eye.log_changed(), "nothing was written since");
}

#[tokio::test]
async fn a_look_at_the_locks_rings_when_a_node_has_gone() {
    let place = Place::new();
    let one = place.open().await;
    let other = Liveness::beside(&place.file());
    other.join(NodeId::from_u128(5)).unwrap();
    let mut eye = Eye::new(&place.file());
    let mut peers = one.0.bell.listen_peers();
    eye.look(&one.0);
    assert!(peers.has_changed().unwrap(), "who died before the first look was not seen to go");
    peers.mark_unchanged();
    eye.look(&one.0);
    assert!(!peers.has_changed().unwrap());
    drop(other);
    eye.look(&one.0);
    assert!(peers.has_changed().unwrap());
}

#[tokio::test]
async fn it_watches_only_while_a_node_is_there() {
    let place = Place::new();
    let sqlite = place.open().await;
    assert!(sqlite.0.watch().is_none());
    let node = node();
    sqlite.join(node.clone()).await.unwrap();
    assert!(sqlite.0.watch().is_some());
    sqlite.leave(node.id).await.unwrap();
    assert!(sqlite.0.watch().is_none());
}

const CHILD: &str = "EVERTASK_TEST_CHILD";

/// Another process that does what [`in_a_child`] does under this word, in the directory of the place, and says so line by line.
fn start_child(place: &Place, what: &str) -> (Child, impl Iterator<Item = String>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "storage::sqlite::tests::processes::in_a_child", "--nocapture"])
        .env(CHILD, what)
        .current_dir(place.0.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let said = lines.filter_map(|line| line.split_once("child: ").map(|(_, said)| said.to_owned()));
    (child, said)
}

/// Does nothing, unless it is started by a test of this file.
#[tokio::test]
async fn in_a_child() {
    let Ok(what) = std::env::var(CHILD) else { return };
    let sqlite = Sqlite::options().durable(false).open("tasks.db").await.unwrap();
    match what.as_str() {
        "hold" => {
            let node = node();
            sqlite.join(node.clone()).await.unwrap();
            assert_eq!(claim(&sqlite, node.id, 1, &["a"], 1).await.len(), 1);
            println!("child: {}", node.id);
            // Until it is killed; or until its parent has died, so that none is left behind.
            let _end = std::io::stdin().read(&mut [0]);
        }
        "store" => loop {
            let stored = sqlite.enqueue((0..3).map(|_| task("a")).collect()).await.unwrap();
            let ids: Vec<_> = stored.iter().map(|stored| stored.id.to_string()).collect();
            println!("child: {}", ids.join(" "));
        },
        "go elsewhere" => {
            std::env::set_current_dir("/").unwrap();
            let stored = sqlite.enqueue(vec![task("a")]).await.unwrap();
            sqlite.join(node()).await.unwrap();
            let read = sqlite.task(stored[0].id).await.unwrap();
            println!("child: {}", read.unwrap().id);
        }
        other => panic!("nobody does `{other}`"),
    }
}

#[tokio::test]
async fn a_relative_path_stays_where_it_was() {
    let place = Place::new();
    let (mut child, mut said) = start_child(&place, "go elsewhere");
    let id = said.next().expect("the child could not store").parse().unwrap();
    child.wait().unwrap();
    let sqlite = place.open().await;
    assert!(sqlite.task(id).await.unwrap().is_some());
    assert!(place.0.path().join("tasks.db-nodes").is_dir());
}

#[tokio::test]
async fn a_process_that_is_killed_is_dead_at_once_and_loses_its_tasks() {
    let place = Place::new();
    let sqlite = place.open().await;
    sqlite.enqueue(vec![task("a")]).await.unwrap();
    let me = node();
    sqlite.join(me.clone()).await.unwrap();
    let (mut child, mut said) = start_child(&place, "hold");
    let other: NodeId = said.next().unwrap().parse().unwrap();
    let peers = sqlite.peers(me.id).await.unwrap();
    assert_eq!((peers[0].node, peers[0].life), (other, Life::Alive));
    child.kill().unwrap();
    child.wait().unwrap();
    let peers = sqlite.peers(me.id).await.unwrap();
    assert_eq!((peers[0].node, peers[0].life), (other, Life::Dead));
    let lost = sqlite.seize(peers[0], me.id, 10).await.unwrap();
    assert_eq!((lost.len(), lost[0].started), (1, true));
    assert_eq!(sqlite.peers(me.id).await.unwrap(), []);
}

#[tokio::test]
async fn what_a_killed_process_was_told_is_stored() {
    for lines in [1, 20, 100] {
        let place = Place::new();
        let (mut child, mut said) = start_child(&place, "store");
        let mut told: Vec<String> = said.by_ref().take(lines).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        // A line that was cut off in the middle was not said.
        told.extend(said.filter(|line| line.len() == 3 * 36 + 2));
        assert!(told.len() >= lines);
        let sqlite = place.open().await;
        for id in told.iter().flat_map(|line| line.split(' ')) {
            assert!(sqlite.task(id.parse().unwrap()).await.unwrap().is_some(), "{id} was lost");
        }
        // All of a batch or nothing of it, and nothing is broken.
        assert_eq!(number(&sqlite, "SELECT count(*) % 3 FROM evertask_tasks").await, 0);
        assert_eq!(
            number(&sqlite, "SELECT integrity_check = 'ok' FROM pragma_integrity_check").await,
            1
        );
    }
}
