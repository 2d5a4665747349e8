//! Statements that go to the server together, and what it answers.

use mysql_async::Row;

use super::{error::Fault, literal::Literal};

/// What stands before the names of all tables of one application.
#[derive(Debug, Clone)]
pub(super) struct Prefix(pub(super) String);

impl Prefix {
    /// A table as it can stand in a statement.
    pub(super) fn table(&self, name: &str) -> String {
        format!("`{}{name}`", self.0.replace('`', "``"))
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
        let prefix = Prefix("a`b_".to_owned());
        let text = prefix.fill("SELECT ? FROM {tasks} WHERE name = ?", &[&1_u8, &"a ? {b}"]);
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text, "SELECT 1 FROM `a``b_tasks` WHERE name = _binary'a ? {b}'");
    }
}
