//! The two kinds of query in a sync config: parameter queries name a user's buckets, data queries fill them.

use fixtures::{App, Row, Table, Value};

use super::expression::{Comparison, Expression, Key, Operand, Reader, Scope, Token, key, tokens};

/// A parameter query.
#[derive(Clone, Debug)]
pub(super) struct Parameters {
    /// The table that it reads; `None`: the user alone decides.
    pub(super) table: Option<usize>,
    outputs: Vec<(String, Operand)>,
    condition: Option<Expression>,
    /// The priority of the buckets that it gives, where it names one itself.
    pub(super) priority: Option<u32>,
}

impl Parameters {
    /// One bucket for everybody.
    pub(super) fn none() -> Self {
        Self { table: None, outputs: Vec::new(), condition: None, priority: None }
    }

    /// One bucket a user.
    pub(super) fn user() -> Self {
        Self { table: None, outputs: vec![(USER.to_owned(), Operand::User)], condition: None, priority: None }
    }

    pub(super) fn parse(app: &App, sql: &str) -> Result<Self, String> {
        let tokens = tokens(sql)?;
        let (table, found) = from(app, &tokens, sql)?;
        let mut reader = Reader { tokens: &tokens, sql, table: found };
        if !reader.word("select") {
            return Err(reader.unknown("SELECT is missing"));
        }
        let mut outputs = Vec::new();
        let mut priority = None;
        loop {
            let operand = reader.operand()?;
            let name = if reader.word("as") {
                reader.name()?
            } else {
                match &operand {
                    Operand::Id => "id".to_owned(),
                    Operand::Column(column) => {
                        found.map_or_else(String::new, |table| table.columns[*column].name.clone())
                    }
                    Operand::User => "user_id".to_owned(),
                    _ => return Err(reader.unknown("AS is missing")),
                }
            };
            if name == "_priority" {
                let Operand::Literal(Value::Int(level)) = operand else {
                    return Err(reader.unknown("_priority must be a number"));
                };
                priority = u32::try_from(level).ok();
            } else {
                outputs.push((name, operand));
            }
            if !reader.mark(",") {
                break;
            }
        }
        let condition = rest(&mut reader)?;
        let bucket = |operand: &Operand| matches!(operand, Operand::Bucket(_));
        if condition.as_ref().is_some_and(|condition| condition.mentions(&bucket))
            || outputs.iter().any(|(_, operand)| bucket(operand))
        {
            return Err(format!("a parameter query cannot name a bucket parameter: {sql}"));
        }
        Ok(Self { table, outputs, condition, priority })
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.outputs.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Whether it gives everybody the one bucket without a name.
    pub(super) fn always(&self) -> bool {
        self.table.is_none() && self.outputs.is_empty() && self.condition.is_none()
    }

    /// The bucket that it gives, if any.
    pub(super) fn evaluate(&self, scope: Scope<'_>) -> Option<Vec<Key>> {
        if let Some(condition) = &self.condition
            && condition.holds(scope) != Some(true)
        {
            return None;
        }
        self.outputs.iter().map(|(_, operand)| key(&operand.value(scope))).collect()
    }
}

/// A data query.
#[derive(Clone, Debug)]
pub(super) struct Data {
    /// Its one table.
    pub(super) table: usize,
    /// Whether each column is selected.
    pub(super) columns: Vec<bool>,
    /// For each bucket parameter, what of a row must equal it.
    pub(super) keys: Vec<Operand>,
    condition: Vec<Expression>,
}

/// The one parameter of a stream, as its queries write it.
const USER: &str = "auth.user_id()";

impl Data {
    /// Reads a data query. Each of the bucket's parameters is compared with a column, once; a stream's only
    /// parameter, [`USER`], may be left out.
    pub(super) fn parse(app: &App, sql: &str, names: &[String]) -> Result<Self, String> {
        let tokens = tokens(sql)?;
        let (table, found) = from(app, &tokens, sql)?;
        let (Some(table), Some(found)) = (table, found) else { return Err(format!("FROM is missing: {sql}")) };
        let mut reader = Reader { tokens: &tokens, sql, table: Some(found) };
        if !reader.word("select") {
            return Err(reader.unknown("SELECT is missing"));
        }
        let columns = selected(&mut reader, found)?;
        let condition = rest(&mut reader)?;
        let mut keys: Vec<Option<Operand>> = vec![None; names.len()];
        let mut conditions = Vec::new();
        let parts = match condition {
            None => Vec::new(),
            Some(Expression::All(parts)) => parts,
            Some(other) => vec![other],
        };
        for part in parts {
            match parameter(&part, names) {
                Some((index, operand)) if keys[index].is_none() => keys[index] = Some(operand),
                _ => conditions.push(part),
            }
        }
        let about_user = |operand: &Operand| matches!(operand, Operand::Bucket(_) | Operand::User);
        if conditions.iter().any(|part| part.mentions(&about_user)) {
            return Err(format!(
                "a bucket parameter or the user is used otherwise than `column = …` at the top: {sql}"
            ));
        }
        let stream = names == [USER];
        let missing = names.iter().zip(&keys).find(|(_, key)| key.is_none());
        let keys = match missing {
            Some(_) if stream => Vec::new(),
            Some((name, _)) => return Err(format!("bucket.{name} is compared with no column: {sql}")),
            None => keys.into_iter().flatten().collect(),
        };
        Ok(Self { table, columns, keys, condition: conditions })
    }

    /// Whether it gives every row of its table as it is.
    pub(super) fn everything(&self) -> bool {
        self.keys.is_empty() && self.condition.is_empty() && self.columns.iter().all(|column| *column)
    }

    /// The bucket that the row is in, if any.
    pub(super) fn bucket(&self, scope: Scope<'_>) -> Option<Vec<Key>> {
        if self.condition.iter().any(|part| part.holds(scope) != Some(true)) {
            return None;
        }
        self.keys.iter().map(|operand| key(&operand.value(scope))).collect()
    }

    /// The row as a device sees it: columns that are not selected are NULL there.
    pub(super) fn project(&self, row: &Row) -> Row {
        if self.columns.iter().all(|column| *column) {
            return row.clone();
        }
        row.iter()
            .zip(&self.columns)
            .map(|(value, selected)| if *selected { value.clone() } else { Value::Null })
            .collect()
    }
}

/// `column = bucket.x` (or the user), either way round.
fn parameter(part: &Expression, names: &[String]) -> Option<(usize, Operand)> {
    let Expression::Compare(left, Comparison::Equal, right) = part else { return None };
    let index = |operand: &Operand| {
        let name = match operand {
            Operand::Bucket(name) => name.as_str(),
            Operand::User => USER,
            _ => return None,
        };
        names.iter().position(|known| known == name)
    };
    let column = |operand: &Operand| matches!(operand, Operand::Id | Operand::Column(_));
    match (index(left), index(right)) {
        (None, Some(index)) if column(left) => Some((index, left.clone())),
        (Some(index), None) if column(right) => Some((index, right.clone())),
        _ => None,
    }
}

/// The table after FROM, looked for first because the columns before it belong to it.
fn from<'a>(app: &'a App, tokens: &[Token], sql: &str) -> Result<(Option<usize>, Option<&'a Table>), String> {
    let Some(at) = tokens.iter().position(|token| matches!(token, Token::Word(word) if word == "from")) else {
        return Ok((None, None));
    };
    let mut reader = Reader { tokens: &tokens[at + 1..], sql, table: None };
    let name = table_name(&mut reader)?;
    let table = app.schema.table_index(&name).ok_or_else(|| format!("there is no table {name}: {sql}"))?;
    Ok((Some(table), Some(&app.schema.tables[table])))
}

fn table_name(reader: &mut Reader<'_>) -> Result<String, String> {
    let name = reader.name()?;
    if name == "public" && reader.mark(".") { reader.name() } else { Ok(name) }
}

/// The columns of a data query. `*` leaves out columns that begin with an underscore.
fn selected(reader: &mut Reader<'_>, table: &Table) -> Result<Vec<bool>, String> {
    let mut columns = vec![false; table.columns.len()];
    let mut id = false;
    loop {
        let qualified = matches!(reader.tokens, [Token::Word(name) | Token::Quoted(name), Token::Mark("."), ..] if *name == table.name);
        if qualified {
            reader.tokens = &reader.tokens[2..];
        }
        if reader.mark("*") {
            id = true;
            for (selected, column) in columns.iter_mut().zip(&table.columns) {
                *selected |= !column.name.starts_with('_');
            }
        } else {
            let name = reader.name()?;
            match table.column_index(&name) {
                None if name == "id" => id = true,
                Some(column) => columns[column] = true,
                None => return Err(format!("{} has no column {name}: {}", table.name, reader.sql)),
            }
        }
        if !reader.mark(",") {
            break;
        }
    }
    if id { Ok(columns) } else { Err(format!("a data query must select id: {}", reader.sql)) }
}

/// `[FROM table] [WHERE condition] [;]`, to the end.
fn rest(reader: &mut Reader<'_>) -> Result<Option<Expression>, String> {
    if reader.word("from") {
        table_name(reader)?;
    }
    let condition = if reader.word("where") { Some(reader.condition()?) } else { None };
    reader.mark(";");
    if reader.tokens.is_empty() { Ok(condition) } else { Err(reader.unknown("something is missing")) }
}
