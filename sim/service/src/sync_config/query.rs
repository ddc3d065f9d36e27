//! The queries of a definition: how a row finds its buckets, and how a request finds them.

use fixtures::{Row, Value};

use super::expression::{Expression, Input, RequestValues};
use super::sqlite::array_elements;
use crate::json::{TimeFormat, write_parameter};

/// How a row finds its buckets.
#[derive(Clone, Debug, PartialEq)]
pub struct DataQuery {
    /// The source table.
    pub table: usize,
    /// Index of the select list in `SyncConfig::projections`.
    pub projection: usize,
    /// What the row must satisfy.
    pub row_filters: Vec<Expression>,
    /// One for each bucket parameter.
    pub keys: Vec<Term>,
}

/// One side of the `=` or IN that matches rows with requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// A value, or a JSON array of values.
    pub of: Expression,
    /// Whether it is an array: then each of its elements may match.
    pub each: bool,
}

impl Term {
    /// A single value.
    #[must_use]
    pub fn one(of: Expression) -> Self {
        Self { of, each: false }
    }

    /// Its values, including NULL.
    #[must_use]
    pub fn values(&self, input: Input<'_>) -> Vec<Value> {
        let value = self.of.evaluate(input);
        if self.each { array_elements(&value) } else { vec![value] }
    }
}

/// How a request finds its buckets.
#[derive(Clone, Debug, PartialEq)]
pub enum ParameterQuery {
    /// Without FROM: from the request alone.
    Static {
        /// What the request must satisfy.
        request_filters: Vec<Expression>,
        /// The bucket's parameters.
        outputs: Vec<Term>,
        /// `N AS _priority`.
        priority: Option<u8>,
    },
    /// With FROM: from rows indexed by what the request asks for.
    Lookup(LookupQuery),
}

/// A parameter query with FROM.
#[derive(Clone, Debug, PartialEq)]
pub struct LookupQuery {
    /// The source table.
    pub table: usize,
    /// What the row must satisfy.
    pub row_filters: Vec<Expression>,
    /// What the request must satisfy.
    pub request_filters: Vec<Expression>,
    /// `row side = request side`.
    pub keys: Vec<(Term, Term)>,
    /// What the index keeps of a row.
    pub stored: Vec<Expression>,
    /// The bucket's parameters.
    pub outputs: Vec<Output>,
    /// `N AS _priority`.
    pub priority: Option<u8>,
}

/// Where an output of a lookup comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// The index entry.
    Stored(usize),
    /// The request.
    Request(Term),
}

impl DataQuery {
    /// Calls back with the parameters of every bucket that the row is in.
    pub fn buckets_of_row(&self, id: &str, row: &Row, format: TimeFormat, found: &mut dyn FnMut(&[Value])) {
        let input = Input::Row(id, row, format);
        if !self.row_filters.iter().all(|filter| filter.holds(input)) {
            return;
        }
        let values = self.keys.iter().map(|key| key.values(input));
        for combination in combinations(values.map(without_null)) {
            found(&combination);
        }
    }
}

impl LookupQuery {
    /// The index entry of a row: its keys, and the values that it contributes. A row without a key is never found.
    #[must_use]
    pub fn index_entry(&self, id: &str, row: &Row, format: TimeFormat) -> (Vec<String>, Vec<Value>) {
        let input = Input::Row(id, row, format);
        if !self.row_filters.iter().all(|filter| filter.holds(input)) {
            return (Vec::new(), Vec::new());
        }
        let keys = lookup_keys(self.keys.iter().map(|(row_side, _)| row_side.values(input)));
        (keys, self.stored.iter().map(|expression| expression.evaluate(input)).collect())
    }

    /// The keys under which a request looks.
    #[must_use]
    pub fn request_keys(&self, request: &RequestValues) -> Vec<String> {
        let input = Input::Request(request);
        if !self.request_filters.iter().all(|filter| filter.holds(input)) {
            return Vec::new();
        }
        lookup_keys(self.keys.iter().map(|(_, request_side)| request_side.values(input)))
    }

    /// The parameters of the buckets that a row of the index grants.
    #[must_use]
    pub fn outputs(&self, stored: &[Value], request: &RequestValues) -> Vec<Vec<Value>> {
        combinations(self.outputs.iter().map(|output| match output {
            Output::Stored(index) => vec![stored[*index].clone()],
            Output::Request(term) => term.values(Input::Request(request)),
        }))
    }
}

fn lookup_keys(sides: impl Iterator<Item = Vec<Value>>) -> Vec<String> {
    let key_of = |values: &Vec<Value>| {
        let mut key = String::from("[");
        for value in values {
            write_parameter(&mut key, value);
            key.push(',');
        }
        key
    };
    combinations(sides.map(without_null)).iter().map(key_of).collect()
}

/// NULL matches nothing.
fn without_null(mut values: Vec<Value>) -> Vec<Value> {
    values.retain(|value| !value.is_null());
    values
}

/// Every way to take one value of each list.
#[must_use]
pub fn combinations(lists: impl Iterator<Item = Vec<Value>>) -> Vec<Vec<Value>> {
    let mut all = vec![Vec::new()];
    for list in lists {
        match list.as_slice() {
            [one] => all.iter_mut().for_each(|start| start.push(one.clone())),
            many => {
                let longer =
                    all.iter().flat_map(|start| many.iter().map(|value| [start, &[value.clone()][..]].concat()));
                all = longer.collect();
            }
        }
    }
    all
}
