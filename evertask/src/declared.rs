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
    tick::{Record, Template, instant, micros},
};

/// How often a program says what it declares; it then answers, too.
pub(crate) const LOOK: Duration = Duration::from_secs(120);
/// How long a question stands until it is taken for unanswered: more than two looks of whoever would answer it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);
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
    /// Nobody who lives declares it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) nowhere: bool,
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
pub(crate) fn said(rule: &str, task: &Template) -> String {
    let Template { version, queue, priority, .. } = task;
    format!("{rule} / version {version}, queue {queue:?}, priority {priority}")
}

/// Compares what is stored with what this program declares, if it does. `node` is who asks, if it comes to that.
pub(crate) fn compare(stored: &Record, mine: Option<&str>, node: NodeId, now: SystemTime) -> Step {
    let Some(declaration) = &stored.declared else {
        // Stored by hand under this key before. What the attribute says counts.
        return mine.map_or(Step::Leave, |_| Step::Replace(Declaration::default()));
    };
    let current = said(&stored.rule, &stored.task);
    let Declaration { replaced, question, nowhere } = declaration;
    if mine == Some(&current) {
        let clean = question.is_none() && !nowhere;
        let answered = || Declaration { question: None, nowhere: false, ..declaration.clone() };
        return if clean { Step::Leave } else { Step::Note(answered()) };
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
        (None, None) => ask(None),
        (mine, Some(question)) if stands(question) >= 2 * PATIENCE => ask(mine),
        _ => Step::Leave,
    }
}

impl Declaration {
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
            let said = (rule != NOWHERE).then(|| said(&mine.rule, &mine.task));
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
