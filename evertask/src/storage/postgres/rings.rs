//! What is to be told after a commit, and how it is written for other processes.

use std::{collections::BTreeSet, fmt::Write, time::Duration};

use uuid::Uuid;

use crate::{storage::Bell, task::TaskId};

/// How many ids of ended tasks one notification holds: its text has a bound of 8,000 bytes.
const IDS: usize = 200;

/// What has happened, for those who may be waiting for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rings {
    /// Something is due now.
    pub(super) due: bool,
    /// The soonest of what will be due.
    soonest: Option<Duration>,
    /// Something is pending again in the place it had before.
    pub(super) back: bool,
    pub(super) orders: bool,
    pub(super) peers: bool,
    pub(super) schedules: bool,
    pub(super) ended: BTreeSet<TaskId>,
}

impl Rings {
    /// Something is pending that becomes due after this time.
    pub(super) fn work(&mut self, due_in: Duration) {
        if due_in.is_zero() {
            self.due = true;
        } else {
            self.soonest = Some(self.soonest.map_or(due_in, |soonest| soonest.min(due_in)));
        }
    }

    /// The same in microseconds; what has passed is now.
    pub(super) fn work_in(&mut self, micros: i64) {
        self.work(Duration::from_micros(u64::try_from(micros).unwrap_or(0)));
    }

    /// What was asked for had been done before, and perhaps not been told, as its answer was not: all look.
    pub(super) fn again(&mut self) {
        self.work(Duration::ZERO);
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.due |= other.due;
        if let Some(soonest) = other.soonest {
            self.work(soonest);
        }
        self.back |= other.back;
        self.orders |= other.orders;
        self.peers |= other.peers;
        self.schedules |= other.schedules;
        self.ended.extend(&other.ended);
    }

    pub(super) fn ring(self, bell: &Bell) {
        if self.due {
            bell.work(Duration::ZERO);
        }
        if let Some(due_in) = self.soonest {
            bell.work(due_in);
        }
        if self.orders {
            bell.orders();
        }
        if self.peers {
            bell.peers();
        }
        if self.schedules {
            bell.schedules();
        }
        bell.ended(self.ended);
    }

    /// As texts of notifications: letters and numbers, apart by spaces.
    pub(super) fn write(&self) -> Vec<String> {
        let mut text = String::new();
        let mut word = |word: String| {
            text.push_str(&word);
            text.push(' ');
        };
        if self.due {
            word("due".to_owned());
        }
        if let Some(soonest) = self.soonest {
            word(format!("soon:{}", soonest.as_micros()));
        }
        if self.back {
            word("back".to_owned());
        }
        if self.orders {
            word("orders".to_owned());
        }
        if self.peers {
            word("peers".to_owned());
        }
        if self.schedules {
            word("schedules".to_owned());
        }
        let mut texts = Vec::new();
        let ended: Vec<_> = self.ended.iter().collect();
        for ids in ended.chunks(IDS) {
            text.push_str("ended:");
            for id in ids {
                let _infallible = write!(text, "{}", id.as_uuid().simple());
            }
            texts.push(std::mem::take(&mut text));
        }
        if !text.is_empty() {
            texts.push(text);
        }
        texts
    }

    /// What a notification says. What a newer evertask may say beside it is passed over.
    pub(super) fn read(text: &str) -> Self {
        let mut rings = Self::default();
        for word in text.split(' ') {
            match word.split_once(':').unwrap_or((word, "")) {
                ("due", _) => rings.work(Duration::ZERO),
                ("soon", micros) => {
                    if let Ok(micros) = micros.parse() {
                        rings.work(Duration::from_micros(micros));
                    }
                }
                ("back", _) => rings.back = true,
                ("orders", _) => rings.orders = true,
                ("peers", _) => rings.peers = true,
                ("schedules", _) => rings.schedules = true,
                ("ended", ids) => rings.ended.extend(
                    // A text of other bytes than hexadecimal digits is none of ours.
                    ids.as_bytes()
                        .chunks(32)
                        .filter_map(|id| Uuid::try_parse_ascii(id).ok())
                        .map(TaskId::from_uuid),
                ),
                _ => {}
            }
        }
        rings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_process_writes_another_reads() {
        let mut rings = Rings::default();
        assert!(rings.is_empty() && rings.write().is_empty());
        rings.work(Duration::ZERO);
        rings.work(Duration::from_micros(77));
        (rings.back, rings.orders) = (true, true);
        (rings.peers, rings.schedules) = (true, true);
        rings.ended.extend((0..500).map(|_| TaskId::new()));
        let texts = rings.write();
        assert!(texts.len() == 3 && texts.iter().all(|text| text.len() < 8_000));
        let mut read = Rings::default();
        for text in texts {
            read.add(&Rings::read(&text));
        }
        assert_eq!(read, rings);
        assert!(Rings::read("what:ever é ended:zz soon:x").is_empty());
    }
}
