//! Statements that go to the server together, and what it answers.

use mysql_async::Row;

use super::{error::Fault, literal::Literal};

/// What stands before the names of all tables of one application.
#[derive(Debug, Clone)]
pub(super) struct Prefix {
    pub(super) text: String,
    /// The database, where the session may be in another one.
    pub(super) database: Option<String>,
}

impl Prefix {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), database: None }
    }

    /// A table as it can stand in a statement.
    pub(super) fn table(&self, name: &str) -> String {
        let quoted = |text: &str| text.replace('`', "``");
        let table = format!("`{}{name}`", quoted(&self.text));
        match &self.database {
            Some(database) => format!("`{}`.{table}", quoted(database)),
            None => table,
        }
    }

    /// A statement in which each `{table}` and each `?` is replaced by what they stand for.
    pub(super) fn fill(&self, sql: &str, values: &[&dyn Literal]) -> Vec<u8> {
        let mut text = Vec::with_capacity(sql.len() + values.len() * 16);
        let mut values = values.iter();
        let mut rest = sql;
        while let Some(at) = rest.find(['{', '?']) {
            text.extend(&rest.as_bytes()[..at]);
            let mark = rest.as_bytes()[at];
            rest = &rest[at + 1..];
            if mark == b'?' {
                debug_assert!(values.len() > 0, "a value is missing: {sql}");
                if let Some(value) = values.next() {
                    value.write(&mut text);
                }
            } else if let Some((name, after)) = rest.split_once('}') {
                text.extend(self.table(name).as_bytes());
                rest = after;
            }
        }
        debug_assert!(values.len() == 0, "a value too many: {sql}");
        text.extend(rest.as_bytes());
        text
    }
}

/// What a packet holds besides its statements, at most.
const SPARE: usize = 16;

/// Statements to be carried out one after the other, until one fails.
#[derive(Debug)]
pub(super) struct Script {
    prefix: Prefix,
    pub(super) statements: Vec<Vec<u8>>,
}

impl Script {
    pub(super) fn new(prefix: &Prefix) -> Self {
        Self { prefix: prefix.clone(), statements: Vec::new() }
    }

    /// The statements, those together that the server takes so, and how many they are; the largest one if it takes no such.
    pub(super) fn packets(
        self,
        most: usize,
        longest: usize,
    ) -> Result<Vec<(Vec<u8>, usize)>, usize> {
        let mut packets: Vec<(Vec<u8>, usize)> = Vec::new();
        for statement in self.statements {
            if statement.len() + SPARE > longest {
                return Err(statement.len());
            }
            match packets.last_mut() {
                Some((text, count)) if text.len() + statement.len() + SPARE <= most => {
                    text.extend(b";\n");
                    text.extend(statement);
                    *count += 1;
                }
                _ => packets.push((statement, 1)),
            }
        }
        Ok(packets)
    }

    /// Adds a statement and gives the place of its answer.
    pub(super) fn add(&mut self, sql: &str, values: &[&dyn Literal]) -> usize {
        self.statements.push(self.prefix.fill(sql, values));
        self.statements.len() - 1
    }
}

/// What one statement came to.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) rows: Vec<Row>,
    /// How many rows it changed.
    pub(super) changed: u64,
}

/// What a script came to, statement by statement.
#[derive(Debug, Default)]
pub(super) struct Answers(pub(super) Vec<Answer>);

impl Answers {
    fn at(&self, place: usize) -> Result<&Answer, Fault> {
        self.0.get(place).ok_or(Fault::Damaged("an answer is missing"))
    }

    pub(super) fn rows(&self, place: usize) -> Result<&[Row], Fault> {
        Ok(&self.at(place)?.rows)
    }

    /// The only row of an answer that always has one.
    pub(super) fn row(&self, place: usize) -> Result<&Row, Fault> {
        self.rows(place)?.first().ok_or(Fault::Damaged("an answer is empty"))
    }

    pub(super) fn changed(&self, place: usize) -> Result<u64, Fault> {
        Ok(self.at(place)?.changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_values_are_filled_in() {
        let mut prefix = Prefix::new("a`b_");
        let filled = |prefix: &Prefix| {
            let text = prefix.fill("SELECT ? FROM {tasks} WHERE name = ?", &[&1_u8, &"a ? {b}"]);
            String::from_utf8(text).unwrap()
        };
        assert_eq!(filled(&prefix), "SELECT 1 FROM `a``b_tasks` WHERE name = _binary'a ? {b}'");
        prefix.database = Some("c`d".to_owned());
        assert!(filled(&prefix).contains("FROM `c``d`.`a``b_tasks`"), "{}", filled(&prefix));
    }
}
