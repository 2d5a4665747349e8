//! Payloads of tasks, as another program may have stored them: a task that cannot be read fails, and nothing else happens.

use std::collections::BTreeMap;

use arbitrary::Unstructured;
use evertask::{
    Body, Runtime, TaskId, TaskState,
    storage::{Inspect as _, Memory, NewTask, Storage as _},
};
use serde::{Deserialize, Serialize};

pub(crate) const PAYLOADS: &[&str] = &[
    "\u{1}\0{\"name\":\"Ada\",\"lines\":[[1,-2.5,\"x\"]],\"more\":{\"k\":null}}",
    "\u{1}\0{\"name\":\"\",\"lines\":[]}",
    "\u{1}\0[]",
    "\u{7}\0{}",
];

/// All that JSON knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Letter {
    name: String,
    #[serde(default)]
    lines: Vec<(u8, f64, char)>,
    #[serde(default)]
    more: BTreeMap<String, Option<i64>>,
}

#[evertask::handler(retries = 0)]
async fn deliver(letter: Letter) -> Letter {
    letter
}

/// A payload: two bytes of codec, then the body.
///
/// # Panics
/// If something does not hold.
pub fn payload(data: &[u8]) {
    let mut data = Unstructured::new(data);
    let Ok(codec) = data.arbitrary::<u16>() else { return };
    let bytes = data.take_rest();
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("an executor");
    tokio.block_on(async {
        let memory = Memory::new();
        let task = NewTask::new("deliver", Body { codec, bytes: bytes.into() });
        let id = task.id;
        memory.enqueue(vec![task]).await.expect("a storage does not look into payloads");
        let runtime = Runtime::builder()
            .storage(memory.clone())
            .discover(false)
            .handler::<deliver>()
            .start()
            .await
            .expect("nothing is wrong");
        let good = deliver::dispatch(Letter {
            name: "Grace".to_owned(),
            lines: Vec::new(),
            more: BTreeMap::new(),
        })
        .on(&runtime)
        .await
        .expect("it can be stored");
        ended(&memory, good.id()).await;
        let state = ended(&memory, id).await;
        if serde_json::from_slice::<Letter>(bytes).is_err() {
            assert_ne!(state, TaskState::Completed, "{codec}: {bytes:?}");
        }
        runtime.shutdown().await.expect("nothing is under way");
    });
}

/// The state a task comes to. The clock goes as soon as nobody has anything to do.
async fn ended(memory: &Memory, id: TaskId) -> TaskState {
    for _ in 0..100_000 {
        let task = memory.task(id).await.expect("memory").expect("it is stored");
        if task.state.is_final() {
            return task.state;
        }
        tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    }
    panic!("it never ends");
}
