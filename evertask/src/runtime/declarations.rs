//! Says what the attributes of this program declare: at its start, and now and then, so that others can be answered.

use std::{sync::Arc, time::Duration};

use crate::{
    chance::jittered,
    declared::{LOOK, Step, compare},
    error::{DispatchError, StartError},
    event::{Event, EventKind},
    recurring::Wish,
    registry::Entry,
    runtime::{ScheduleInfo, Shared, boot::answered, patience::Patience},
    schedule::Schedule,
    storage::{
        ScheduleChange, ScheduleChanged, SchedulePage, ScheduleRow, StorageError, StoredSchedule,
    },
    tick::{FORMAT, Record, ScheduleState},
};

/// How often a program looks that declares nothing, and so can only ask.
const SELDOM: Duration = Duration::from_secs(600);
/// Behind every key of a name: no key has so many characters.
const LAST_KEY: &str = {
    const LONG: [u8; 804] = {
        let mut long = [0; 804];
        let mut n = 0;
        while n < long.len() {
            (long[n], long[n + 1], long[n + 2], long[n + 3]) = (0xF4, 0x8F, 0xBF, 0xBF);
            n += 4;
        }
        long
    };
    match std::str::from_utf8(&LONG) {
        Ok(long) => long,
        Err(_) => "",
    }
};

/// The first time: what is declared is stored when the node has started.
pub(crate) async fn at_start(shared: &Arc<Shared>) -> Result<(), StartError> {
    for entry in shared.registry.entries() {
        let Some(stored) = entry.def.options.schedule else { continue };
        Schedule::from_wire(stored).map_err(|error| StartError::BadSetting {
            what: format!("the schedule of handler `{}`", entry.name),
            why: error.to_string(),
        })?;
    }
    answered(look(shared, true)).await
}

/// The loop.
pub(crate) async fn run(shared: Arc<Shared>) {
    let declares = shared.registry.entries().iter().any(|it| it.def.options.schedule.is_some());
    let every = if declares { LOOK } else { SELDOM };
    let mut patience = Patience::new();
    let mut wait = jittered(every);
    loop {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shared.draining.wait() => {
                if let Err(error) = shared.calls.declare.make(take_back_answers(&shared)).await {
                    tracing::debug!(%error, "the answers of this node stand for a day");
                }
                return;
            }
        }
        wait = match Box::pin(shared.calls.declare.make(look(&shared, false))).await {
            Ok(()) => {
                patience = Patience::new();
                jittered(every)
            }
            Err(error) => {
                shared.trouble(&shared.calls.declare, &error);
                patience.wait()
            }
        };
    }
}

async fn look(shared: &Shared, start: bool) -> Result<(), StorageError> {
    let mut seen = Vec::new();
    for entry in shared.registry.entries() {
        seen.extend(declare(shared, entry, start).await?);
    }
    for stored in declared(shared).await? {
        if !seen.contains(&stored.row.name) {
            see_to(shared, &stored, None, false).await?;
        }
    }
    Ok(())
}

/// Who leaves does not stand by anything any more. If it is gone without a word, its answers stand for a day.
async fn take_back_answers(shared: &Shared) -> Result<(), StorageError> {
    for entry in shared.registry.entries() {
        if entry.def.options.schedule.is_none() {
            continue;
        }
        let (name, key) = (entry.name.to_string(), entry.name.to_string());
        let Some(stored) = shared.storage.schedule(name, key).await? else { continue };
        if stored.row.format > FORMAT {
            continue;
        }
        let Ok(record) = Record::read(&stored.row) else { continue };
        let Some(without) = record.declared.as_ref().and_then(|it| it.without(shared.node.id))
        else {
            continue;
        };
        let record = Record { declared: Some(without), ..record };
        if let Ok(row) = record.write(&stored.row) {
            store(shared, Some(&stored), row).await?;
        }
    }
    Ok(())
}

/// Every stored schedule that an attribute has declared: of each handler, the one whose key is its name.
pub(crate) async fn declared(shared: &Shared) -> Result<Vec<StoredSchedule>, StorageError> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        // From name to name: what a handler has beside that may be many.
        let page = SchedulePage { name: None, after, limit: 1 };
        let first = shared.storage.schedules(page).await?;
        let Some(StoredSchedule { row: ScheduleRow { name, .. }, .. }) = first.into_iter().next()
        else {
            return Ok(found);
        };
        let stored = shared.storage.schedule(name.to_string(), name.to_string()).await?;
        let is_declared = |stored: &StoredSchedule| {
            stored.row.format <= FORMAT
                && Record::read(&stored.row).is_ok_and(|record| record.declared.is_some())
        };
        found.extend(stored.filter(is_declared));
        after = Some((name.to_string(), LAST_KEY.to_owned()));
    }
}

/// Those of them that no program which lives declares any more.
pub(crate) async fn undeclared(shared: &Shared) -> Result<Vec<ScheduleInfo>, StorageError> {
    let declared = declared(shared).await?;
    Ok(declared.iter().map(ScheduleInfo::of).filter(|info| info.undeclared).collect())
}

/// Stores what one handler declares; returns under which of its names that is.
async fn declare(
    shared: &Shared,
    entry: &Entry,
    start: bool,
) -> Result<Option<Arc<str>>, StorageError> {
    let Some(rule) = entry.def.options.schedule else { return Ok(None) };
    // It was read when the node started.
    let Ok(schedule) = Schedule::from_wire(rule) else { return Ok(None) };
    let mut found = None;
    // What is stored under an older name goes on under it, for the sake of programs that know no other.
    for name in [entry.def.options.name].iter().chain(entry.def.options.aliases) {
        found = shared.storage.schedule((*name).to_owned(), (*name).to_owned()).await?;
        if found.is_some() {
            break;
        }
    }
    let name = found.as_ref().map_or_else(|| entry.name.clone(), |found| found.row.name.clone());
    let wish = Wish::declared(entry, &name, schedule);
    match found {
        Some(found) => see_to(shared, &found, Some(&wish), start).await?,
        // Removed while we live, it is wanted back no earlier than at the next start.
        None if start => put(shared, None, &wish).await?,
        None => {}
    }
    Ok(Some(name))
}

/// Does what is to be done about a stored schedule, seen from this program.
async fn see_to(
    shared: &Shared,
    stored: &StoredSchedule,
    mine: Option<&Wish>,
    start: bool,
) -> Result<(), StorageError> {
    if stored.row.format > FORMAT {
        return Ok(());
    }
    let Ok(record) = Record::read(&stored.row) else {
        return match mine {
            Some(wish) => put(shared, Some(stored), wish).await,
            None => Ok(()),
        };
    };
    let now = shared.storage_now().await?;
    let words = mine.map(Wish::said);
    let (name, stands) = (&*stored.row.name, record.said());
    let step = compare(&record, words.as_deref(), shared.node.id, now);
    let (to, nowhere) = match step {
        Step::Leave => {
            // The start of a program tries again what made no sense or could not be stored.
            let broken = matches!(record.state, ScheduleState::Broken(_));
            return match (mine, record.declared) {
                (Some(wish), Some(as_is)) if start && broken => {
                    put(shared, Some(stored), &wish.with(as_is)).await
                }
                _ => Ok(()),
            };
        }
        Step::Note(to) => (to, false),
        Step::Nowhere(to) => (to, true),
        Step::Replace(to) => {
            let Some(wish) = mine else { return Ok(()) };
            let replaces = wish.said();
            tracing::info!(name, schedule = replaces, instead_of = stands, "declares its schedule");
            return put(shared, Some(stored), &wish.with(to)).await;
        }
    };
    if let Some(mine) = words.filter(|mine| *mine != stands) {
        tracing::info!(
            name,
            declares = mine,
            stands,
            "a newer program declared another schedule, which stands as long as one lives that declares it"
        );
    }
    let record = Record { declared: Some(to), ..record };
    let Ok(row) = record.write(&stored.row) else { return Ok(()) };
    if store(shared, Some(stored), row).await? && nowhere {
        tell_nowhere(shared, name);
    }
    Ok(())
}

fn tell_nowhere(shared: &Shared, name: &str) {
    tracing::warn!(
        name,
        "no program that lives declares this schedule any more; `runtime.schedules().remove_undeclared()` removes it"
    );
    let why = "no program that lives declares it any more";
    shared.events.tell(|| Event::of_schedule(EventKind::ScheduleUndeclared, name, name).error(why));
}

async fn put(
    shared: &Shared,
    was: Option<&StoredSchedule>,
    wish: &Wish,
) -> Result<(), StorageError> {
    let now = shared.storage_now().await?;
    match wish.row(was, now) {
        Ok(Some((row, _))) => store(shared, was, row).await.map(drop),
        Ok(None) => Ok(()),
        Err(DispatchError::Storage(error)) => Err(error),
        // A rule whose years are over, or the like: that must not keep the program from starting.
        Err(error) => {
            let (name, _) = wish.identity();
            tracing::warn!(name, %error, "what the attribute declares is not stored");
            Ok(())
        }
    }
}

/// True if it was stored; if not, somebody was quicker, and the next look sees to it.
async fn store(
    shared: &Shared,
    was: Option<&StoredSchedule>,
    row: ScheduleRow,
) -> Result<bool, StorageError> {
    let change = ScheduleChange::to(was.map(|was| was.revision), row);
    let changed = shared.storage.change_schedules(vec![change]).await?;
    Ok(changed != [ScheduleChanged::Stale])
}
