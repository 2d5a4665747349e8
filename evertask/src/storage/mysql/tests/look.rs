//! What is seen of others, by looking.

use std::{sync::Arc, time::Duration};

use super::{fresh, task};
use crate::{
    policy::Keep,
    storage::{Cancel, Claim, Known, Node, Storage},
};

#[tokio::test]
async fn what_another_process_does_is_heard_of_by_a_look() {
    let Some((options, url)) = fresh() else { return };
    let options = options.look_every(Duration::from_millis(20));
    let here = options.clone().connect(&url).await.unwrap();
    let there = options.connect(&url).await.unwrap();
    let handlers: Arc<[Known]> = [Known { name: "mail".into(), version: 1 }].into();
    let node = Node::new(handlers.clone(), vec!["default".to_owned()]);
    here.join(node.clone()).await.unwrap();
    let mut work = here.bell().listen_work();
    let (mut orders, mut schedules) = (here.bell().listen_orders(), here.bell().listen_schedules());
    let stored = task();
    there.enqueue(vec![stored.clone()]).await.unwrap();
    work.mark_unchanged();
    work.changed().await.unwrap();
    schedules.changed().await.unwrap();
    let claim = Claim::new(1, node.id, handlers, 1).queue("default", 1, 0);
    assert_eq!(here.claim(claim).await.unwrap().tasks.len(), 1);
    assert!(!orders.has_changed().unwrap(), "there are none");
    let ended = here.bell().listen_ended(stored.id);
    assert_eq!(there.cancel(stored.id, Keep::Forever).await.unwrap(), Cancel::Asked);
    orders.changed().await.unwrap();
    // Whether it has ended is for the one to see who waits.
    ended.await;
}
