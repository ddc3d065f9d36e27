//! Conditions of a sync config's queries: read, and decided for a row and a user.

use std::cmp::Ordering;
use std::sync::Arc;

use fixtures::{Table, Type, Value};

/// One value in a bucket's name. An integral real names the same bucket as the integer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::checker) enum Key {
    Integer(i64),
    Real(u64),
    Text(Arc<str>),
}

/// A value as part of a bucket's name; `None`: it names no bucket.
pub(in crate::checker) fn key(value: &Value) -> Option<Key> {
    match value {
        Value::Null => None,
        Value::Int(int) => Some(Key::Integer(*int)),
        #[expect(clippy::cast_possible_truncation, reason = "guarded by the fract and range tests")]
        Value::Real(real) if real.fract() == 0.0 && real.abs() < 9.0e15 => Some(Key::Integer(*real as i64)),
        Value::Real(real) => Some(Key::Real(real.to_bits())),
        Value::Text(text) => Some(Key::Text(text.clone())),
        Value::Time(micros) => Some(Key::Text(Arc::from(fixtures::value::time_to_iso(*micros)))),
    }
}

/// What a condition is decided for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'s> {
    /// The subject of the user's tokens.
    pub(super) user: &'s str,
    /// The row's id.
    pub(super) id: &'s str,
    /// The row's columns.
    pub(super) row: &'s [Value],
}

/// Something that has a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    Id,
    Column(usize),
    User,
    Bucket(String),
    Literal(Value),
}

/// A condition.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Not(Box<Expression>),
    IsNull(Operand),
    Compare(Operand, Comparison, Operand),
    In(Operand, Vec<Operand>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Operand {
    pub(super) fn value(&self, scope: Scope<'_>) -> Value {
        match self {
            Self::Id => Value::text(scope.id),
            Self::Column(column) => scope.row.get(*column).cloned().unwrap_or(Value::Null),
            Self::User => Value::text(scope.user),
            Self::Bucket(_) => Value::Null,
            Self::Literal(value) => value.clone(),
        }
    }
}

impl Expression {
    /// SQL's three-valued truth.
    pub(super) fn holds(&self, scope: Scope<'_>) -> Option<bool> {
        match self {
            Self::All(parts) => parts
                .iter()
                .map(|part| part.holds(scope))
                .try_fold(Some(true), |so_far, part| match (so_far, part) {
                    (_, Some(false)) => Err(()),
                    (Some(true), Some(true)) => Ok(Some(true)),
                    _ => Ok(None),
                })
                .unwrap_or(Some(false)),
            Self::Any(parts) => parts
                .iter()
                .map(|part| part.holds(scope))
                .try_fold(Some(false), |so_far, part| match (so_far, part) {
                    (_, Some(true)) => Err(()),
                    (Some(false), Some(false)) => Ok(Some(false)),
                    _ => Ok(None),
                })
                .unwrap_or(Some(true)),
            Self::Not(inner) => inner.holds(scope).map(|held| !held),
            Self::IsNull(operand) => Some(operand.value(scope).is_null()),
            Self::Compare(left, comparison, right) => comparison.holds(&left.value(scope), &right.value(scope)),
            Self::In(operand, list) => {
                let value = operand.value(scope);
                let mut result = Some(false);
                for item in list {
                    match Comparison::Equal.holds(&value, &item.value(scope)) {
                        Some(true) => return Some(true),
                        None => result = None,
                        Some(false) => {}
                    }
                }
                result
            }
        }
    }

    /// Whether it mentions something, anywhere.
    pub(super) fn mentions(&self, wanted: &dyn Fn(&Operand) -> bool) -> bool {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().any(|part| part.mentions(wanted)),
            Self::Not(inner) => inner.mentions(wanted),
            Self::IsNull(operand) => wanted(operand),
            Self::Compare(left, _, right) => wanted(left) || wanted(right),
            Self::In(operand, list) => wanted(operand) || list.iter().any(wanted),
        }
    }
}

impl Comparison {
    fn holds(self, left: &Value, right: &Value) -> Option<bool> {
        let order = order(left, right)?;
        Some(match self {
            Self::Equal => order == Ordering::Equal,
            Self::NotEqual => order != Ordering::Equal,
            Self::Less => order == Ordering::Less,
            Self::LessOrEqual => order != Ordering::Greater,
            Self::Greater => order == Ordering::Greater,
            Self::GreaterOrEqual => order != Ordering::Less,
        })
    }
}

/// SQLite's order of values: numbers, then texts by bytes. NULL is in no order.
fn order(left: &Value, right: &Value) -> Option<Ordering> {
    let number = |value: &Value| match value {
        #[expect(clippy::cast_precision_loss, reason = "only for comparing an integer with a real")]
        Value::Int(int) => Some(*int as f64),
        Value::Real(real) => Some(*real),
        _ => None,
    };
    match (left, right) {
        (Value::Null, _) | (_, Value::Null) => None,
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        (Value::Text(left), Value::Text(right)) => Some(left.as_bytes().cmp(right.as_bytes())),
        _ => match (number(left), number(right)) {
            (Some(left), Some(right)) => left.partial_cmp(&right),
            (Some(_), None) => Some(Ordering::Less),
            (None, Some(_)) => Some(Ordering::Greater),
            (None, None) => Some(Ordering::Equal),
        },
    }
}

/// One word of a query.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A bare word, in lower case.
    Word(String),
    /// A quoted identifier.
    Quoted(String),
    /// A text.
    Text(String),
    /// A number.
    Number(Value),
    /// An operator or a mark.
    Mark(&'static str),
}

const MARKS: [&str; 15] = ["->>", "==", "!=", "<>", "<=", ">=", "=", "<", ">", "(", ")", ",", ".", "*", ";"];

/// Cuts a query into words.
pub(super) fn tokens(sql: &str) -> Result<Vec<Token>, String> {
    let mut rest = sql.trim_start();
    let mut tokens = Vec::new();
    while let Some(first) = rest.chars().next() {
        let length;
        if first == '\'' || first == '"' {
            let (text, used) = quoted(rest, first)?;
            tokens.push(if first == '"' { Token::Quoted(text) } else { Token::Text(text) });
            length = used;
        } else if first.is_ascii_digit() || (first == '-' && rest[1..].starts_with(|c: char| c.is_ascii_digit())) {
            length = rest[1..].find(|c: char| !(c.is_ascii_digit() || c == '.')).map_or(rest.len(), |index| index + 1);
            let text = &rest[..length];
            let value = text.parse().map(Value::Int).or_else(|_| text.parse().map(Value::Real));
            tokens.push(Token::Number(value.map_err(|_| format!("`{text}` is no number"))?));
        } else if first.is_alphabetic() || first == '_' {
            length = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..length].to_lowercase()));
        } else {
            let mark = MARKS.iter().find(|mark| rest.starts_with(**mark));
            let mark = mark.ok_or_else(|| format!("`{first}` is not known in a query: {sql}"))?;
            tokens.push(Token::Mark(mark));
            length = mark.len();
        }
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// A quoted text from the start, and how long it is with its quotes.
fn quoted(sql: &str, quote: char) -> Result<(String, usize), String> {
    let mut text = String::new();
    let mut chars = sql.char_indices().skip(1).peekable();
    while let Some((index, c)) = chars.next() {
        if c != quote {
            text.push(c);
        } else if chars.peek().is_some_and(|(_, next)| *next == quote) {
            text.push(quote);
            chars.next();
        } else {
            return Ok((text, index + 1));
        }
    }
    Err(format!("a quote is not closed: {sql}"))
}

/// A cursor over a query's words.
#[derive(Debug)]
pub(super) struct Reader<'t> {
    pub(super) tokens: &'t [Token],
    /// The query as written, for messages.
    pub(super) sql: &'t str,
    /// The table whose columns it names, once known.
    pub(super) table: Option<&'t Table>,
}

impl Reader<'_> {
    pub(super) fn word(&mut self, word: &str) -> bool {
        self.take(|token| matches!(token, Token::Word(given) if given == word))
    }

    pub(super) fn mark(&mut self, mark: &str) -> bool {
        self.take(|token| matches!(token, Token::Mark(given) if *given == mark))
    }

    fn take(&mut self, wanted: impl Fn(&Token) -> bool) -> bool {
        let found = self.tokens.first().is_some_and(wanted);
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }

    pub(super) fn name(&mut self) -> Result<String, String> {
        match self.tokens.split_first() {
            Some((Token::Word(name) | Token::Quoted(name), rest)) => {
                self.tokens = rest;
                Ok(name.clone())
            }
            _ => Err(self.unknown("a name is missing")),
        }
    }

    pub(super) fn unknown(&self, what: &str) -> String {
        format!("{what} before `{}`, or not known to the convergence checker: {}", self.next(), self.sql)
    }

    fn next(&self) -> String {
        match self.tokens.first() {
            None => "the end".to_owned(),
            Some(Token::Word(text) | Token::Quoted(text) | Token::Text(text)) => text.clone(),
            Some(Token::Number(value)) => value.to_json().to_string(),
            Some(Token::Mark(mark)) => (*mark).to_owned(),
        }
    }

    pub(super) fn condition(&mut self) -> Result<Expression, String> {
        let mut parts = vec![self.conjunction()?];
        while self.word("or") {
            parts.push(self.conjunction()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::Any(parts) })
    }

    fn conjunction(&mut self) -> Result<Expression, String> {
        let mut parts = vec![self.negation()?];
        while self.word("and") {
            parts.push(self.negation()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::All(parts) })
    }

    fn negation(&mut self) -> Result<Expression, String> {
        if self.word("not") {
            return Ok(Expression::Not(Box::new(self.negation()?)));
        }
        if self.mark("(") {
            let inner = self.condition()?;
            return if self.mark(")") { Ok(inner) } else { Err(self.unknown("`)` is missing")) };
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expression, String> {
        let left = self.operand()?;
        if self.word("is") {
            let negated = self.word("not");
            if !self.word("null") {
                return Err(self.unknown("NULL is missing"));
            }
            let is_null = Expression::IsNull(left);
            return Ok(if negated { Expression::Not(Box::new(is_null)) } else { is_null });
        }
        let negated = self.word("not");
        if self.word("in") {
            if !self.mark("(") {
                return Err(self.unknown("a list of values is missing"));
            }
            let mut list = vec![self.operand()?];
            while self.mark(",") {
                list.push(self.operand()?);
            }
            if !self.mark(")") {
                return Err(self.unknown("`)` is missing"));
            }
            let found = Expression::In(left, list);
            return Ok(if negated { Expression::Not(Box::new(found)) } else { found });
        }
        let comparisons = [
            ("=", Comparison::Equal),
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<>", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        for (mark, comparison) in comparisons {
            if self.mark(mark) {
                return Ok(Expression::Compare(left, comparison, self.operand()?));
            }
        }
        Err(self.unknown("a comparison is missing"))
    }

    /// A literal, a column, `bucket.x`, or one of the ways to say who the user is.
    pub(super) fn operand(&mut self) -> Result<Operand, String> {
        if let Some((token, rest)) = self.tokens.split_first() {
            let value = match token {
                Token::Text(text) => Some(Value::text(text)),
                Token::Number(value) => Some(value.clone()),
                Token::Word(word) if word == "null" => Some(Value::Null),
                Token::Word(word) if word == "true" => Some(Value::Int(1)),
                Token::Word(word) if word == "false" => Some(Value::Int(0)),
                _ => None,
            };
            if let Some(value) = value {
                self.tokens = rest;
                return Ok(Operand::Literal(value));
            }
        }
        let first = self.name()?;
        if !self.mark(".") {
            return self.column(&first);
        }
        let second = self.name()?;
        match (first.as_str(), second.as_str()) {
            ("request" | "auth", "user_id") if self.mark("(") && self.mark(")") => Ok(Operand::User),
            ("token_parameters", "user_id") => Ok(Operand::User),
            ("request", "jwt") if self.mark("(") && self.mark(")") && self.mark("->>") => {
                match self.tokens.split_first() {
                    Some((Token::Text(claim), rest)) if claim == "sub" || claim == "$.sub" => {
                        self.tokens = rest;
                        Ok(Operand::User)
                    }
                    _ => Err(self.unknown("the claim 'sub' is missing")),
                }
            }
            ("bucket", _) => Ok(Operand::Bucket(second)),
            (table, column) if self.table.is_some_and(|known| known.name == table) => self.column(column),
            _ => Err(format!("`{first}.{second}` is not known to the convergence checker: {}", self.sql)),
        }
    }

    /// A column of the table. Instants have several texts in the sync service, so none is compared here.
    fn column(&self, name: &str) -> Result<Operand, String> {
        let Some(table) = self.table else {
            return Err(format!("there is no table to take `{name}` from: {}", self.sql));
        };
        if name == "id" {
            return Ok(Operand::Id);
        }
        let column =
            table.column_index(name).ok_or_else(|| format!("{} has no column {name}: {}", table.name, self.sql))?;
        if table.columns[column].ty == Type::Timestamptz {
            return Err(format!(
                "an instant ({}.{name}) is compared: not known to the convergence checker",
                table.name
            ));
        }
        Ok(Operand::Column(column))
    }
}
