//! What is wrong, in words: losses, and overrides without a record.

use super::judge::Judge;
use super::lawful::Discipline;
use super::records::{Found, Wanted};
use super::state::Write;
use super::transaction::JudgedTx;
use crate::history::{LocalOp, Op, RowId, What, label};
use crate::verdict::{Anomaly, Class};

/// The checker's name in anomalies.
const CHECKER: &str = "durability";

/// More anomalies than this say nothing new.
const MOST: usize = 200;

/// A loss.
pub(super) struct Loss {
    /// What it is called.
    pub(super) code: &'static str,
    /// The row.
    pub(super) row: RowId,
    /// The register; `None`: the whole row.
    pub(super) register: Option<usize>,
    /// The writes concerned.
    pub(super) writes: Vec<Write>,
}

/// A record that must exist.
pub(super) struct RequiredRecord<'n> {
    /// Who lost: any of these (several when they wrote the same value).
    pub(super) losers: &'n [Option<Write>],
    /// Who won: any of these; `None` is the server.
    pub(super) winners: &'n [Option<Write>],
    /// The row, aliases followed.
    pub(super) row: RowId,
    /// The register; `None`: the whole row, or any column of it.
    pub(super) register: Option<usize>,
    /// How the rule's name may begin.
    pub(super) rules: &'n [&'n str],
    /// What the override is counted as.
    pub(super) counted: &'n str,
}

impl<'a> Judge<'a, '_> {
    /// Whether there is a record of an override.
    pub(super) fn is_recorded(&self, need: &RequiredRecord<'_>) -> bool {
        self.look_up(need) == Found::Named
    }

    fn look_up(&self, need: &RequiredRecord<'_>) -> Found<'a> {
        let mut columns: Vec<&str> = Vec::new();
        if let Some(index) = need.register {
            let table = self.ctx.history.rows[need.row as usize].table;
            let register = &self.layouts[table].registers[index];
            columns.push(register.name);
            if register.is_group() {
                columns.extend(
                    register.columns.iter().map(|at| self.ctx.app.schema.tables[table].columns[*at].name.as_str()),
                );
            }
        }
        let rows = self.ids.names_of(need.row);
        let wanted = Wanted {
            rows: &rows,
            columns: &columns,
            whole_row: need.register.is_none() || self.discipline != Discipline::Rules,
            rules: need.rules,
            winners: need.winners,
        };
        let mut found = Found::Missing;
        for loser in need.losers.iter().flatten() {
            match self.records.find(self.ctx, loser, &wanted) {
                Found::Named => return Found::Named,
                Found::Wrong(record) => found = Found::Wrong(record),
                Found::Missing => {}
            }
        }
        found
    }

    /// Demands the record of an override, and counts it.
    pub(super) fn require_record(&mut self, at: &JudgedTx<'a>, need: &RequiredRecord<'_>) {
        let Some(loser) = need.losers.iter().flatten().next().copied() else { return };
        let found = self.look_up(need);
        if found == Found::Named {
            return self.overridden(need.counted);
        }
        let winner = need.winners.iter().flatten().next().copied();
        let winner_words = match winner {
            Some(winner) => self.write_words(&winner),
            None => "the server".to_owned(),
        };
        let mut writes = vec![loser];
        writes.extend(winner);
        let what = format!(
            "was decided against {} and for {winner_words}, without the one having seen the other",
            self.write_words(&loser)
        );
        match found {
            Found::Wrong(record) => {
                let because = format!(
                    "The conflict record says that {} lost to {} by the rule {}",
                    label::writer(&record.loser),
                    label::writer(&record.winner),
                    record.rule
                );
                self.report_loss(
                    at,
                    Loss { code: "wrong-record", row: need.row, register: need.register, writes },
                    what,
                    because,
                );
            }
            _ => {
                let because = format!(
                    "The rule may be {}, but no conflict record names loser, winner, {} and rule",
                    need.rules[0],
                    if need.register.is_some() { "column" } else { "row" }
                );
                self.report_loss(
                    at,
                    Loss { code: "override-without-record", row: need.row, register: need.register, writes },
                    what,
                    because,
                );
            }
        }
    }

    /// Reports a loss.
    pub(super) fn report_loss(&mut self, at: &JudgedTx<'a>, loss: Loss, what: String, because: String) {
        self.report(Some(at), loss, &what, because);
    }

    /// Reports a loss that has no commit.
    pub(super) fn report(&mut self, at: Option<&JudgedTx<'a>>, loss: Loss, what: &str, because: String) {
        if self.finding.anomalies.len() >= MOST {
            return;
        }
        let (app, history) = (self.ctx.app, self.ctx.history);
        let table = history.rows[loss.row as usize].table;
        let name = |prefix: String| match loss.register {
            Some(index) => format!("{prefix}.{}", self.layouts[table].registers[index].name),
            None => prefix,
        };
        let mut events: Vec<usize> = loss.writes.iter().map(|write| write.event).collect();
        events.extend(
            loss.writes
                .iter()
                .filter_map(|write| self.timeline.commit_event(write.seq))
                .filter(|event| at.is_none_or(|at| *event <= at.event)),
        );
        events.extend(at.map(|at| at.event));
        events.sort_unstable();
        events.dedup();
        let mut operations: Vec<(u32, i64)> = loss.writes.iter().map(|write| (write.device, write.op_id)).collect();
        operations.sort_unstable();
        operations.dedup();
        let evidence = events.iter().map(|event| self.evidence(*event, &loss)).collect();
        let anomaly = Anomaly {
            checker: CHECKER,
            code: loss.code,
            class: Class::Safety,
            role: name(history.row_role(app, loss.row)),
            what: format!("{} {what}.", name(history.row_label(app, loss.row))),
            because: format!("{because}."),
            evidence,
            events,
            operations,
            rows: vec![loss.row],
        };
        self.finding.invalid(anomaly);
    }

    fn evidence(&self, event: usize, loss: &Loss) -> String {
        let entry = &self.ctx.history.events[event];
        let (who, at) = (label::who(entry.who), label::time(entry.at_us));
        match &entry.what {
            What::Tx(tx) => {
                let ops = tx.ops.iter().filter(|op| self.target(op.row) == loss.row || op.row == loss.row);
                let ops: Vec<String> = ops.take(4).map(|op| self.op_words(op)).collect();
                format!(
                    "{at}: {who} accepted transaction {} ({}): {}",
                    tx.tx_id.unwrap_or_default(),
                    tx.activity,
                    ops.join("; ")
                )
            }
            What::Commit(commit) => match commit.origin {
                Some(origin) => format!(
                    "{at}: commit {} of client/{} transaction {}, with {} changes and {} conflict records",
                    commit.seq,
                    origin.device,
                    origin.tx_id,
                    commit.changes.len(),
                    commit.conflicts.len()
                ),
                None => format!("{at}: commit {} of the server, with {} changes", commit.seq, commit.changes.len()),
            },
            What::Upload(upload) => {
                format!(
                    "{at}: {who} was answered {:?} for transaction {}, attempt {}",
                    upload.outcome, upload.tx_id, upload.attempt
                )
            }
            What::Complete { tx_id } => format!("{at}: {who} took transaction {tx_id} out of its queue"),
            _ => format!("{at}: {who}"),
        }
    }

    fn op_words(&self, op: &LocalOp) -> String {
        let row = self.ctx.history.row_label(self.ctx.app, op.row);
        let columns = &self.ctx.app.schema.tables[self.ctx.history.rows[op.row as usize].table].columns;
        let old = |column: usize| op.old.iter().find(|(at, _)| *at == column).map(|(_, value)| value);
        let set: Vec<String> = op
            .data
            .iter()
            .take(6)
            .map(|(column, value)| match old(*column) {
                Some(old) => format!("{} {} -> {}", columns[*column].name, label::value(old), label::value(value)),
                None => format!("{} {}", columns[*column].name, label::value(value)),
            })
            .collect();
        let verb = match op.op {
            Op::Put => "insert",
            Op::Patch => "update",
            Op::Delete => "delete",
        };
        format!("op {} {verb} {row} {}", op.op_id, set.join(", ")).trim_end().to_owned()
    }

    /// `client/0 op 31`.
    pub(super) fn write_words(&self, write: &Write) -> String {
        format!("client/{} op {}", write.device, write.op_id)
    }

    /// `client/0 op 31 deleted it`.
    pub(super) fn deleted_by(&self, write: &Write) -> String {
        format!("{} deleted it", self.write_words(write))
    }
}
