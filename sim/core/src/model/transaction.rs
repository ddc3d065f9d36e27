//! One uploaded transaction: its operations in order, all or nothing.
//!
//! One rejected operation refuses the whole transaction; merged and superseded ones do not. Each operation sees what
//! the ones before it did: a child may name a parent that the same transaction made, but not one that it makes
//! later.

use fixtures::{Row, Value};

use super::Model;
use super::execution::{Execution, defect};
use super::facts::Discipline;
use super::prediction::{Predicted, Prediction, Refusal};
use super::state::{Slot, Stamp, Tombstone};
use super::upload::Upload;
use crate::history::{LocalOp, Op, Outcome, RowId};

impl<'a> Model<'a> {
    /// Carries a transaction out, and says what a commit of it should show.
    pub fn predict(&mut self, upload: &Upload<'_>) -> Prediction<'a> {
        self.state.begin();
        let mut out = Prediction::default();
        let baseline = self.discipline == Discipline::ArrivalOrder;
        for (index, op) in upload.ops.iter().enumerate() {
            let execution = self.execution(index, op, upload, &mut out);
            let done = if baseline { execution.execute() } else { execution.run() };
            if let Err(reason) = done {
                self.state.roll_back(&self.tables, self.names);
                return self.refused(upload, index, reason);
            }
        }
        for left in std::mem::take(&mut out.left) {
            let mut execution = self.execution(left.by, &upload.ops[left.by], upload, &mut out);
            execution.is_over = true;
            if let Err(reason) = execution.let_go(&left) {
                self.state.roll_back(&self.tables, self.names);
                return self.refused(upload, left.by, reason);
            }
        }
        out
    }

    fn refused(&self, upload: &Upload<'_>, index: usize, reason: &'static str) -> Prediction<'a> {
        let also = (0..upload.ops.len())
            .filter(|other| {
                let op = &upload.ops[*other];
                *other != index && (defect(self.app, self.names, op).is_some() || self.lacks_a_column(op))
            })
            .collect();
        let fate = |(at, op): (usize, &LocalOp)| Predicted {
            op_id: op.op_id,
            row: self.state.resolve(op.row),
            outcome: if at == index { Outcome::Rejected } else { Outcome::RolledBack },
            reason: (at == index && matches!(reason, "no-such-row" | "unique")).then_some(reason),
            winners: Vec::new(),
            merged_into: None,
        };
        Prediction {
            refusal: Some(Refusal { op: index, reason, also }),
            ops: upload.ops.iter().enumerate().map(fate).collect(),
            ..Prediction::default()
        }
    }

    /// Whether an insert leaves out a column that must have a value and has no default: wrong where the row is not
    /// there.
    fn lacks_a_column(&self, op: &LocalOp) -> bool {
        let columns = &self.app.schema.tables[self.names[op.row as usize].table].columns;
        op.op == Op::Put
            && columns.iter().enumerate().any(|(column, schema)| {
                schema.not_null
                    && schema.default == fixtures::ColumnDefault::Null
                    && op.data.iter().all(|(sent, _)| *sent != column)
            })
    }

    fn execution<'m>(
        &'m mut self,
        index: usize,
        op: &'m LocalOp,
        upload: &'m Upload<'m>,
        out: &'m mut Prediction<'a>,
    ) -> Execution<'m, 'a> {
        // Under the baseline there are no aliases, so that this changes nothing there.
        let row = self.state.resolve(op.row);
        let table = self.names[row as usize].table;
        let facts = &self.tables[table];
        let mut data = self.by_column(table, &op.data);
        let mut old = self.by_column(table, &op.old);
        // NULL where the server has none says nothing about what the server had: a local insert left the column out, or
        // the device had cleared it and was refused.
        let mut unknown_base = Vec::new();
        for (column, schema) in self.app.schema.tables[table].columns.iter().enumerate() {
            if schema.not_null && data[column].is_none() && old[column].as_ref().is_some_and(Value::is_null) {
                old[column] = None;
                unknown_base.push(column);
            }
        }
        for (_, reference) in &facts.references {
            for value in [&mut data[reference.column], &mut old[reference.column]] {
                let Some(Value::Text(id)) = value else { continue };
                if let Some(named) = self.state.find(reference.parent, id) {
                    let survivor = self.state.resolve(named);
                    if survivor != named {
                        *value = Some(Value::Text(std::sync::Arc::clone(&self.names[survivor as usize].id)));
                    }
                }
            }
        }
        let stamp = Stamp {
            clock_us: match facts.clock.and_then(|clock| data[clock].as_ref()) {
                Some(Value::Time(sent_us)) => (*sent_us).min(upload.received_us),
                _ => upload.received_us,
            },
            device: upload.device,
            op_id: op.op_id,
        };
        Execution {
            app: self.app,
            discipline: self.discipline,
            tables: &self.tables,
            names: self.names,
            clients: &self.clients,
            state: &mut self.state,
            upload,
            out,
            index,
            is_over: false,
            op,
            row,
            facts,
            table,
            stamp,
            data,
            old,
            unknown_base,
        }
    }

    fn by_column(&self, table: usize, values: &[(usize, Value)]) -> Vec<Option<Value>> {
        let mut columns = vec![None; self.app.schema.tables[table].columns.len()];
        for (column, value) in values {
            columns[*column] = Some(value.clone());
        }
        columns
    }

    /// Undoes the transaction that was predicted last: the server refused it.
    pub fn undo(&mut self) {
        self.state.roll_back(&self.tables, self.names);
    }

    /// A write of the server's own, past the backend: it sets the row and nothing of what the policy remembers.
    pub fn server_write(&mut self, row: RowId, image: Option<&Row>) {
        self.state.begin();
        let facts = &self.tables[self.names[row as usize].table];
        if let Some(image) = image {
            self.state.edit(row).bypass(facts, image);
        }
        self.state.write(facts, row, image.cloned());
        if image.is_none() {
            *self.state.edit(row) = Slot { tombstone: self.state.slot(row).tombstone.clone(), ..Slot::default() };
        }
    }

    /// Takes over what the server made of a row, where that is not what was predicted, so that one defect is one
    /// anomaly. `stamp` is the operation to which the difference is attributed.
    pub fn adopt(&mut self, row: RowId, actual: Option<&Row>, stamp: Option<Stamp>) {
        let facts = &self.tables[self.names[row as usize].table];
        let predicted = self.state.slot(row).clone();
        let touched = self.state.touched().iter().find(|(touched, _)| *touched == row);
        let before = touched.map_or_else(|| predicted.clone(), |(_, slot)| slot.clone());
        self.state.write(facts, row, actual.cloned());
        let slot = self.state.edit(row);
        let Some(actual) = actual else {
            let image = before.live.clone().or(predicted.live);
            slot.tombstone = match (&before.live, stamp) {
                (None, _) => before.tombstone,
                (Some(_), Some(stamp)) => Some(Tombstone { stamp, image }),
                (Some(_), None) => None,
            };
            return;
        };
        slot.tombstone = None;
        for (index, register) in facts.registers.iter().enumerate() {
            let is = |other: &Option<Row>| {
                other.as_ref().is_some_and(|other| register.columns.iter().all(|at| other[*at] == actual[*at]))
            };
            let taken = if is(&predicted.live) {
                predicted.stamp(index)
            } else if is(&before.live) {
                before.stamp(index)
            } else {
                stamp.or_else(|| before.stamp(index))
            };
            slot.set_stamp(index, taken);
        }
    }

    /// Takes over an alias that was not predicted, or forgets one that the server did not make.
    pub fn adopt_alias(&mut self, losing: RowId, survivor: Option<RowId>) {
        match survivor {
            Some(survivor) => self.state.alias(losing, survivor),
            None => self.state.forget_alias(losing),
        }
    }
}
