//! Schedules that stand in attributes: what is stored of them beside what this program says. Pure, as `judge` is.
//!
//! Programs of several releases live on one storage at once, and each says at its start, and now and then, what it declares. What
//! was replaced is remembered. So a program that says what has been replaced is known to be an older one, however late it
//! starts, and changes nothing. Instead it asks, in the row itself, whether anybody stands by what is stored. Whoever lives and
//! does so answers by taking the question out. If nobody has answered for [`PATIENCE`], then nobody is left who would: the
//! older one is a rollback, and its word counts again. What is declared nowhere any more is found by the same question. Only who
//! asked can tell that nobody answered, having been there all the while.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::{
    storage::NodeId,
    tick::{Missed, Overlap, Record, Template, instant, micros, millis},
};

/// How often a program says what it declares; it then answers, too.
pub(crate) const LOOK: Duration = Duration::from_secs(120);
/// How long a question stands until it is taken for unanswered: more than two looks of whoever would answer it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);
/// How long who does not know a handler is content with an answer about its schedule. Who gave it takes it back when it leaves,
/// so it matters only for those that are killed.
const ANSWERED: Duration = Duration::from_secs(86_400);
/// How many replaced declarations are remembered.
const REMEMBERED: usize = 20;

/// What is stored of a schedule because an attribute declares it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Declaration {
    /// What it replaced, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    replaced: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    question: Option<Question>,
    /// Who stood by what is stored when that was asked last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answered: Option<Answer>,
    /// Nobody who lives declares it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) nowhere: bool,
}

/// Somebody stood by what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    node: NodeId,
    at: u64,
}

impl Answer {
    /// Whether it is worth not asking again.
    fn stands_at(self, now: SystemTime) -> bool {
        now.duration_since(instant(self.at)).unwrap_or_default() < ANSWERED
    }
}

/// Whether anybody stands by what is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Question {
    /// Who asks.
    node: NodeId,
    /// What is declared where it is asked; nothing if the schedule is not.
    instead: Option<String>,
    /// Since when it stands.
    at: u64,
}

/// What a program has to do about a schedule.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// It stands as it should, or will be seen to later.
    Leave,
    /// To store this, which changes nothing but the question.
    Note(Declaration),
    /// To store what this program declares, with this.
    Replace(Declaration),
    /// To store this: the question was about a schedule that is declared nowhere.
    Nowhere(Declaration),
}

/// What a declaration says: all that an attribute decides of a schedule.
///
/// It is stored, and read by other releases. So what is as it is by default is not said, as it was not when there was no other way.
pub(crate) fn said(rule: &str, task: &Template, ways: (Missed, Overlap, u64)) -> String {
    let Template { version, queue, priority, .. } = task;
    let mut said = format!("{rule} / version {version}, queue {queue:?}, priority {priority}");
    let (missed, overlap, offset) = ways;
    match missed {
        Missed::Skip => {}
        Missed::Once => said += ", missed once",
        Missed::All(window) => said += &format!(", missed all within {} ms", millis(window)),
    }
    said += match overlap {
        Overlap::Skip => "",
        Overlap::Allow => ", overlap allowed",
        Overlap::CancelPrevious => ", overlap cancels",
        Overlap::QueueOne => ", overlap queues",
    };
    if offset > 0 {
        said += &format!(", {offset} ms later");
    }
    said
}

/// Compares what is stored with what this program declares, if it does. `node` is who asks, if it comes to that.
pub(crate) fn compare(stored: &Record, mine: Option<&str>, node: NodeId, now: SystemTime) -> Step {
    let Some(declaration) = &stored.declared else {
        // Stored by hand under this key before. What the attribute says counts.
        return mine.map_or(Step::Leave, |_| Step::Replace(Declaration::default()));
    };
    let current = stored.said();
    let Declaration { replaced, question, nowhere, answered } = declaration;
    if mine == Some(&current) {
        let clean = question.is_none() && !nowhere;
        let answered = Some(Answer { node, at: micros(now) });
        let answer =
            || Declaration { question: None, nowhere: false, answered, ..declaration.clone() };
        return if clean { Step::Leave } else { Step::Note(answer()) };
    }
    let stands = |question: &Question| now.duration_since(instant(question.at)).unwrap_or_default();
    let unanswered = question.as_ref().filter(|it| it.node == node && stands(it) >= PATIENCE);
    let replace = |mine: &str| Step::Replace(declaration.replacing(current.clone(), mine));
    let ask = |instead: Option<&str>| {
        let question = Question { node, instead: instead.map(str::to_owned), at: micros(now) };
        Step::Note(Declaration { question: Some(question), ..declaration.clone() })
    };
    match (mine, question) {
        (Some(mine), _) if *nowhere || !replaced.iter().any(|it| it == mine) => replace(mine),
        (Some(mine), _) if unanswered.is_some_and(|it| it.instead.as_deref() == Some(mine)) => {
            replace(mine)
        }
        (None, _) if *nowhere => Step::Leave,
        (None, _) if unanswered.is_some_and(|it| it.instead.is_none()) => {
            Step::Nowhere(Declaration { question: None, nowhere: true, ..declaration.clone() })
        }
        // One at a time. Who wants to know more than that, or asked and is gone, makes room.
        (Some(mine), Some(Question { instead: None, .. }) | None) => ask(Some(mine)),
        // Somebody stood by it not long ago.
        (None, None) if answered.is_some_and(|it| it.stands_at(now)) => Step::Leave,
        (None, None) => ask(None),
        (mine, Some(question)) if stands(question) >= 2 * PATIENCE => ask(mine),
        _ => Step::Leave,
    }
}

impl Declaration {
    /// The same without the answer of this node, if it gave the last one.
    pub(crate) fn without(&self, node: NodeId) -> Option<Self> {
        self.answered.filter(|answer| answer.node == node)?;
        Some(Self { answered: None, ..self.clone() })
    }

    /// What is remembered when `new` takes the place of `old`.
    fn replacing(&self, old: String, new: &str) -> Self {
        let mut replaced = self.replaced.clone();
        replaced.push(old);
        replaced.retain(|it| it != new);
        let forgotten = replaced.len().saturating_sub(REMEMBERED);
        replaced.drain(..forgotten);
        Self { replaced, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A schedule on which programs of several releases have their say, and the time.
    struct Scene {
        stored: Record,
        now: SystemTime,
    }

    const NOWHERE: &str = "";

    fn record(rule: &str) -> Record {
        let task = serde_json::json!({
            "version": 1, "queue": "default", "priority": 0, "codec": 0, "payload": "{}"
        });
        let record = serde_json::json!({ "rule": rule, "state": "active", "task": task });
        serde_json::from_value(record).unwrap()
    }

    impl Scene {
        fn declared_by(rule: &str) -> Self {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
            let mut scene = Self { stored: record(rule), now };
            scene.look(rule);
            scene
        }

        /// The program that declares this has a look: what it does.
        fn look(&mut self, rule: &str) -> &'static str {
            // One node of each.
            self.look_as(NodeId::from_u128(rule.bytes().map(u128::from).sum()), rule)
        }

        fn look_as(&mut self, node: NodeId, rule: &str) -> &'static str {
            let mine = record(rule);
            let said = (rule != NOWHERE).then(|| mine.said());
            let was = self.stored.declared.clone();
            match compare(&self.stored, said.as_deref(), node, self.now) {
                Step::Leave => "leaves it",
                Step::Note(to) if to.question.is_some() => {
                    self.stored.declared = Some(to);
                    "asks"
                }
                Step::Note(to) => {
                    assert!(was.is_some_and(|was| was.question.is_some() || was.nowhere));
                    self.stored.declared = Some(to);
                    "answers"
                }
                Step::Replace(to) => {
                    self.stored = Record { declared: Some(to), ..mine };
                    "replaces it"
                }
                Step::Nowhere(to) => {
                    self.stored.declared = Some(to);
                    "tells that it is nowhere"
                }
            }
        }

        /// The program that declares this shuts down.
        fn leave(&mut self, rule: &str) {
            let node = NodeId::from_u128(rule.bytes().map(u128::from).sum());
            let declared = self.stored.declared.as_ref().unwrap();
            self.stored.declared = Some(declared.without(node).expect("it had answered"));
        }

        fn wait(&mut self, time: Duration) {
            self.now += time;
        }
    }

    #[test]
    fn an_older_program_never_undoes_what_a_newer_one_changed_while_that_lives() {
        let mut scene = Scene::declared_by("old");
        assert_eq!(scene.look("old"), "leaves it");
        assert_eq!(scene.look("new"), "replaces it");
        // Old nodes of a rolling deploy start and start again, for days.
        for _ in 0..1_000 {
            let did = scene.look("old");
            assert!(did == "asks" || did == "leaves it", "{did}");
            scene.wait(LOOK);
            assert!(matches!(scene.look("new"), "answers" | "leaves it"));
        }
        assert_eq!(scene.stored.rule, "new");
    }

    #[test]
    fn a_rollback_counts_once_nobody_stands_by_the_newer_rule_and_so_does_the_next_release() {
        let mut scene = Scene::declared_by("old");
        scene.look("new");
        assert_eq!(scene.look("old"), "asks");
        scene.wait(PATIENCE - Duration::from_secs(1));
        assert_eq!(scene.look("old"), "leaves it");
        scene.wait(Duration::from_secs(1));
        assert_eq!(scene.look("old"), "replaces it");
        // And the same the other way round.
        assert_eq!(scene.look("new"), "asks");
        assert_eq!(scene.look("old"), "answers");
        assert_eq!(scene.look("new"), "asks");
        scene.wait(PATIENCE);
        assert_eq!(scene.look("new"), "replaces it");
        assert_eq!(scene.look("newest"), "replaces it");
    }

    #[test]
    fn of_three_releases_the_latest_stands_and_who_asked_and_went_makes_room() {
        let mut scene = Scene::declared_by("a");
        scene.look("b");
        scene.look("c");
        assert_eq!(scene.look("a"), "asks");
        assert_eq!(scene.look("b"), "leaves it", "one at a time");
        scene.wait(2 * PATIENCE);
        assert_eq!(scene.look("b"), "asks");
        scene.wait(PATIENCE);
        assert_eq!(scene.look("a"), "leaves it", "that was not its question");
        assert_eq!(scene.look("b"), "replaces it");
    }

    #[test]
    fn only_who_asked_and_waited_can_tell_that_nobody_answered() {
        let mut scene = Scene::declared_by("old");
        scene.look("new");
        assert_eq!(scene.look("old"), "asks");
        // Everything stands still for a day, and an old node is the first that starts.
        scene.wait(PATIENCE * 288);
        let another = NodeId::now_v7();
        assert_eq!(scene.look_as(another, "old"), "asks");
        assert_eq!(scene.look("new"), "answers");
        assert_eq!(scene.look_as(another, "old"), "asks");
        scene.wait(PATIENCE);
        assert_eq!(scene.look("old"), "leaves it");
        assert_eq!(scene.look_as(another, "old"), "replaces it");
    }

    #[test]
    fn what_no_living_program_declares_is_told_once_and_forgotten_when_one_does() {
        let mut scene = Scene::declared_by("a");
        assert_eq!(scene.look(NOWHERE), "asks");
        assert_eq!(scene.look("a"), "answers");
        // That is good for a day, so that those who do not know it do not ask for ever.
        assert_eq!(scene.look(NOWHERE), "leaves it");
        scene.wait(ANSWERED);
        assert_eq!(scene.look(NOWHERE), "asks");
        assert_eq!(scene.look("a"), "answers");
        scene.leave("a");
        assert_eq!(scene.look(NOWHERE), "asks");
        scene.wait(PATIENCE);
        assert_eq!(scene.look(NOWHERE), "tells that it is nowhere");
        assert_eq!(scene.look(NOWHERE), "leaves it");
        assert_eq!(scene.look("a"), "answers");
        // What is nowhere stands in nobody's way.
        scene.look("b");
        scene.look(NOWHERE);
        scene.wait(PATIENCE);
        scene.look(NOWHERE);
        assert_eq!(scene.look("a"), "replaces it");
    }

    #[test]
    fn what_was_stored_by_hand_is_taken_over_and_what_is_remembered_is_bounded() {
        let mut scene = Scene { stored: record("hand"), now: SystemTime::UNIX_EPOCH };
        assert_eq!(scene.look(NOWHERE), "leaves it");
        assert_eq!(scene.look("attribute"), "replaces it");
        for n in 0..100 {
            assert_eq!(scene.look(&format!("rule {n}")), "replaces it");
        }
        assert_eq!(scene.stored.declared.unwrap().replaced.len(), REMEMBERED);
    }
}
