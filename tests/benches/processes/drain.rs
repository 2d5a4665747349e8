//! What two processes run beside what one does.

use std::time::{Duration, Instant, SystemTime};

use crate::{
    micros, node,
    other::{Other, Role},
    place::Place,
};

const TASKS: usize = 40_000;
const ROUNDS: usize = 5;
const SLOTS: usize = 64;
/// How long before they become due all are being stored.
const LEAD: Duration = Duration::from_secs(6);
const PAYLOAD: &str = "a payload as many have it, with a name, an address and a few numbers in it, 150 bytes long \
    or so; it is not compressed, since that is what most are like";

/// One node and two, in turns.
pub(crate) async fn drain(place: impl Fn() -> Place) {
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // Who is first is disturbed by what the one before has left to write: each is so as often.
        for nodes in if round % 2 == 0 { [1, 2] } else { [2, 1] } {
            let mut lead = LEAD;
            let drained = loop {
                match run(&place(), nodes, lead).await {
                    Some(drained) => break drained,
                    // The machine is busy with much else.
                    None => lead *= 2,
                }
            };
            if nodes == 1 { one.push(drained) } else { two.push(drained) }
        }
    }
    let mut ratios: Vec<f64> = one.iter().zip(&two).map(|(one, two)| two / one).collect();
    for of in [&mut one, &mut two, &mut ratios] {
        of.sort_by(f64::total_cmp);
    }
    let middle = ROUNDS / 2;
    println!(
        "drain by two processes: {:.0}/s, by one {:.0}/s; {:.2} (from {:.2} to {:.2})",
        two[middle],
        one[middle],
        ratios[middle],
        ratios[0],
        ratios[ROUNDS - 1]
    );
}

/// How many tasks these nodes begin a second, from the instant at which all become due; `None` if they were not stored before that.
async fn run(place: &Place, nodes: usize, lead: Duration) -> Option<f64> {
    let client = place.client().await;
    let mut others = Vec::new();
    for _ in 0..nodes {
        others.push(Other::start(Role::Node(place.clone(), Some(SLOTS))).await);
    }
    let (due, start) = (SystemTime::now() + lead, Instant::now() + lead);
    for _ in 0..TASKS / 10_000 {
        let tasks = (0..10_000).map(|_| node::noop::new(PAYLOAD));
        evertask::dispatch_all(tasks).at(due).on(&client).await.expect("stored");
    }
    if Instant::now() > start {
        return None;
    }
    let mut ran = vec![(0, 0); nodes];
    while ran.iter().map(|(ran, _)| ran).sum::<usize>() < TASKS {
        for (other, ran) in others.iter_mut().zip(&mut ran) {
            while let Some(line) = other.said() {
                let (count, last) = line.split_once(' ').expect("two numbers");
                *ran = (count.parse().expect("a count"), last.parse().expect("an instant"));
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let end: u64 = ran.iter().map(|(_, last)| *last).max().unwrap_or_default();
    Some(TASKS as f64 / Duration::from_micros(end.saturating_sub(micros(due))).as_secs_f64())
}
