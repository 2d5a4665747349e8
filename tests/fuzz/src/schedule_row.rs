//! Bodies of stored schedules: what cannot be read is set aside with its reason, and stops no other.

use std::time::{Duration, SystemTime};

use evertask::{
    Body, Runtime, ScheduleState,
    storage::{Memory, ScheduleChange, SchedulePage, ScheduleRow, Storage as _},
};

pub(crate) const BODIES: &[&str] = &[BODY, "{}", "[]", ""];

const BODY: &str = r#"{"rule":"v1 every 60s from 2030-01-01T00:00:00Z","state":"active","missed":{"all":{"secs":60,"nanos":0}},
"overlap":"allow","until":1900000000000000,"max_runs":3,"offset":5,"runs":1,"tick":1800000000000000,"task":{"version":1,
"queue":"default","priority":0,"codec":0,"payload":"null","expires":1,"retries":2,"timeout":[null],"tags":{"a":"b"}}}"#;

#[evertask::handler]
async fn sweep() {}

/// The body of a stored schedule that has come up.
///
/// # Panics
/// If something does not hold.
pub fn schedule_row(data: &[u8]) {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("an executor");
    tokio.block_on(async {
        let memory = Memory::new();
        let runtime = Runtime::builder()
            .storage(memory.clone())
            .discover(false)
            .handler::<sweep>()
            .start()
            .await
            .expect("nothing is wrong");
        // Text is what is read of it; under another codec it would be refused before that.
        let body = Body { codec: Body::JSON, bytes: data.into() };
        let mut row = ScheduleRow::new("sweep", "odd", body);
        row.next = Some(SystemTime::UNIX_EPOCH);
        let stored = memory.change_schedules(vec![ScheduleChange::to(None, row)]).await;
        stored.expect("a storage does not look into a schedule");
        let every = evertask::schedule::every(1).minutes();
        sweep::dispatch().every(every).key("good").on(&runtime).await.expect("it can be stored");

        tokio::time::sleep(Duration::from_secs(200)).await;
        let all = runtime.schedules().list(SchedulePage::default()).await.expect("memory");
        let find = |key| all.iter().find(|info| info.key == key).expect("it is stored");
        let good = find("good");
        assert!(good.state == ScheduleState::Active && good.runs >= 3, "{good:?}");
        let odd = find("odd");
        match &odd.state {
            ScheduleState::Broken(why) => assert!(!why.is_empty()),
            ScheduleState::Active => {
                assert!(odd.next.is_some_and(|next| next > SystemTime::UNIX_EPOCH), "{odd:?}");
            }
            _ => {}
        }
        runtime.shutdown().await.expect("nothing is under way");
    });
}
