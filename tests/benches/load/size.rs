//! How much memory a node takes: one in a process of its own, since this one has done much else.

use std::{process::Stdio, time::Duration};

use tokio::process::Command;

use crate::{
    Outcome, Scale, machine, rate,
    subject::{Fresh, Place, Subject},
    table::Table,
    work::until_ran,
};

/// The first argument of such a process. The others are how many tasks it is to run, how many milliseconds it waits then, and where
/// they are stored.
pub(crate) const NODE: &str = "node";

/// What the process does: it drains, waits a while, and says how much memory it had at most and has now.
pub(crate) async fn live(arguments: &[String]) -> Outcome {
    let [tasks, wait, place] = arguments else { return Err("how many tasks, and where?".into()) };
    let place: Place = serde_json::from_str(place)?;
    let node = place.builder().await?.start().await?;
    until_ran(tasks.parse()?).await;
    tokio::time::sleep(Duration::from_millis(wait.parse()?)).await;
    println!("{} {}", machine::memory("VmHWM:"), machine::resident());
    node.shutdown().await?;
    Ok(())
}

/// Stores tasks and lets such a process drain them.
pub(crate) async fn measure(
    scale: &Scale,
    subject: &Subject,
    (storage, beside): (&Fresh<'_>, &str),
    table: &mut Table,
) -> Outcome {
    let Some(place) = storage.place() else { return Ok(()) };
    let client = storage.builder().await?.client().await?;
    rate::bulk(&client, scale.tasks).await?;
    client.shutdown().await?;
    let mut process = Command::new(std::env::current_exe()?);
    let (tasks, wait) = (scale.tasks.to_string(), scale.time.as_millis().to_string());
    process.args([NODE, &tasks, &wait, &serde_json::to_string(&place)?]);
    let process = process.stderr(Stdio::inherit()).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(120), process).await??;
    let said = String::from_utf8(output.stdout)?;
    let numbers = said.split_whitespace().map(str::parse::<f64>).collect::<Result<Vec<_>, _>>()?;
    let [most, idle] = numbers[..] else { return Err(format!("it said {said:?}").into()) };
    let case = format!("a process that drains {}{beside}: memory", scale.tasks);
    table.number(subject.name(), &format!("{case} at most"), most, "MiB");
    table.number(subject.name(), &format!("{case} afterwards"), idle, "MiB");
    Ok(())
}
