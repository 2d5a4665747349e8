//! Signs of life: given by the storage itself while a runtime cannot, but not for ever.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{fresh, task};
use crate::storage::{Claim, Known, Life, MySql, Node, Storage};

/// A node that holds a task and never renews.
async fn silent(mysql: &MySql, stall_limit: Duration) -> Node {
    let handlers: Arc<[Known]> = [Known { name: "mail".into(), version: 1 }].into();
    let mut node = Node::new(handlers.clone(), vec!["default".to_owned()]);
    (node.lease, node.stall_limit) = (Duration::from_millis(50), stall_limit);
    mysql.join(node.clone()).await.unwrap();
    mysql.enqueue(vec![task()]).await.unwrap();
    let claim = Claim::new(1, node.id, handlers, 1).queue("default", 1, 0);
    assert_eq!(mysql.claim(claim).await.unwrap().tasks.len(), 1);
    node
}

/// The first number of a beat that a look from outside finds and that is not this one.
async fn next_beat(mysql: &MySql, node: &Node, last: Option<u64>) -> u64 {
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < Duration::from_secs(30), "no beat comes");
        let peers = mysql.peers(uuid::Uuid::nil()).await.unwrap();
        let peer = peers.iter().find(|peer| peer.node == node.id).expect("it holds a task");
        let Life::Beats(beat) = peer.life else { panic!("{peer:?}") };
        if Some(beat) != last {
            return beat;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_node_whose_runtime_stands_still_goes_on_beating() {
    let Some((options, url)) = fresh() else { return };
    let mysql = options.connect(url).await.unwrap();
    let node = silent(&mysql, Duration::from_secs(300)).await;
    let mut last = None;
    for _ in 0..5 {
        last = Some(next_beat(&mysql, &node, last).await);
    }
}

#[tokio::test]
async fn a_node_that_stands_still_for_its_stall_limit_stops_beating_until_it_renews() {
    let Some((options, url)) = fresh() else { return };
    let mysql = options.connect(url).await.unwrap();
    let beating = silent(&mysql, Duration::from_secs(300)).await;
    let stalled = silent(&mysql, Duration::ZERO).await;
    let last = next_beat(&mysql, &stalled, None).await;
    let mut seen = None;
    for _ in 0..5 {
        seen = Some(next_beat(&mysql, &beating, seen).await);
    }
    assert_eq!(next_beat(&mysql, &stalled, None).await, last, "the others beat, it does not");
    mysql.renew(crate::storage::Beat::new(stalled.id)).await.unwrap();
    assert!(next_beat(&mysql, &stalled, None).await > last);
}
