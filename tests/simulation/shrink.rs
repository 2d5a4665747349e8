//! From a history in which a rule was broken to the shortest that breaks the same one.

use std::time::Duration;

use crate::{
    bugs::Bug,
    plan::{Act, Plan},
    rules::Rule,
    stage::{Outcome, play},
};

/// How many histories are played at most.
const TRIES: usize = 1_000;

/// By how much chance itself is varied, and how often, where less is asked for: with one task fewer all that is left to chance falls
/// out differently, and what hid the failure may be no more than that.
const OTHER_CHANCES: [u64; 4] = [0, 3_000_003, 6_000_006, 9_000_009];

/// A plan, as short as could be found, whose history breaks this rule.
pub(crate) fn shrink(plan: &Plan, bug: Option<Bug>, rule: Rule) -> (Plan, Outcome) {
    let best = (plan.clone(), play(plan, bug));
    let mut search = Search { bug, rule, best, tries: 0 };
    loop {
        let before = search.best.0.size();
        search.lists();
        search.places();
        search.details();
        if search.best.0.size() == before || search.tries >= TRIES {
            return search.best;
        }
    }
}

struct Search {
    bug: Option<Bug>,
    rule: Rule,
    best: (Plan, Outcome),
    tries: usize,
}

impl Search {
    /// Takes a plan for the best if it breaks the same rule, with whatever chance.
    fn offer(&mut self, plan: &Plan) -> bool {
        OTHER_CHANCES.iter().any(|other| {
            if self.tries >= TRIES {
                return false;
            }
            self.tries += 1;
            let plan = Plan { seed: plan.seed.wrapping_add(*other), ..plan.clone() };
            let outcome = play(&plan, self.bug);
            let same = outcome.broken.as_ref().is_some_and(|broken| broken.rule == self.rule);
            if same {
                self.best = (plan, outcome);
            }
            same
        })
    }

    /// Takes away faults, then wishes, schedules and tasks: half of them, a quarter, …, each.
    fn lists(&mut self) {
        self.list(|plan| plan.faults.len(), |plan, from, to| drop(plan.faults.drain(from..to)));
        self.list(|plan| plan.wishes.len(), |plan, from, to| drop(plan.wishes.drain(from..to)));
        self.list(
            |plan| plan.series_wishes.len(),
            |plan, from, to| drop(plan.series_wishes.drain(from..to)),
        );
        self.list(
            |plan| plan.schedules.len(),
            |plan, from, to| drop(plan.schedules.drain(from..to)),
        );
        self.list(|plan| plan.tasks.len(), |plan, from, to| drop(plan.tasks.drain(from..to)));
    }

    fn list(&mut self, len: impl Fn(&Plan) -> usize, take: impl Fn(&mut Plan, usize, usize)) {
        let mut chunk = len(&self.best.0);
        while chunk > 0 {
            let mut from = 0;
            while from < len(&self.best.0) {
                let mut plan = self.best.0.clone();
                let to = (from + chunk).min(len(&plan));
                take(&mut plan, from, to);
                if !self.offer(&plan) {
                    from = to;
                }
            }
            chunk /= 2;
        }
    }

    fn places(&mut self) {
        while self.best.0.nodes.len() > 1 {
            let mut plan = self.best.0.clone();
            plan.nodes.pop();
            if !self.offer(&plan) {
                return;
            }
        }
    }

    /// Tasks without what is not needed.
    fn details(&mut self) {
        for at in 0..self.best.0.tasks.len() {
            let simpler: [fn(&mut crate::plan::TaskPlan); 6] = [
                |task| task.acts = vec![Act::Return(Duration::ZERO)],
                |task| task.key = None,
                |task| (task.after, task.expires) = (Duration::ZERO, None),
                |task| task.priority = 0,
                |task| task.effect = false,
                |task| task.acts.truncate(1),
            ];
            for simplify in simpler {
                let mut plan = self.best.0.clone();
                simplify(&mut plan.tasks[at]);
                if format!("{plan:?}") != format!("{:?}", self.best.0) {
                    self.offer(&plan);
                }
            }
        }
    }
}

impl Plan {
    /// What there is to be made shorter.
    pub(crate) fn size(&self) -> usize {
        let lists = self.tasks.len() + self.wishes.len() + self.schedules.len() + self.faults.len();
        let lists = lists + self.series_wishes.len();
        lists + self.nodes.len()
    }
}
