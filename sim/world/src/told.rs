//! What both kinds of world tell about the server, in the history's words: commits, records, second deliveries; and
//! what both need to begin: the seed rows, and tokens.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use backend::record::Author;
use fixtures::{App, Value};
use sim_core::Plan;
use sim_core::history::{self, ConflictRecord, OpAnswer, Outcome, What, Who, Writer};
use sim_core::plan::{EPOCH_US, Expr};

use sim_device::upload_subject::UploadSubject;
use sim_device::interpreter::clock_text;
use sim_network::sim::SimNetwork;
use sim_network::{Network, Purpose, Request, RequestTag, Response, ServerRole};
use sim_device::recorder::Recorder;
use sim_stack::signer::{Claims, Signer};
use crate::real::keys::Issuer;

/// The audience of all tokens.
pub(super) const AUDIENCE: &str = "syncstorm";

/// Puts what a server says into the words of one plan's history.
pub(super) struct Teller {
    plan: Rc<Plan>,
    app: Arc<App>,
    recorder: Recorder,
}

/// A seed row: the table, its id, and the columns that are set.
pub(super) type SeedRow = (usize, Arc<str>, Vec<(usize, Value)>);

impl Teller {
    pub(super) fn new(plan: Rc<Plan>, app: Arc<App>, recorder: Recorder) -> Self {
        Self { plan, app, recorder }
    }

    /// A commit in the history's words. `sender`: the device whose request made it, if that is known.
    pub(super) fn commit(&self, commit: &backend::record::Commit, sender: Option<u32>) -> history::Commit {
        let row = |table: usize, id: &str| self.recorder.row(table, id);
        let table_of = |op_id: i64| {
            commit.changes.iter().find(|change| change.by == Some(op_id)).map(|change| change.table)
        };
        let origin = commit.origin.as_ref().and_then(|origin| {
            let device = self.recorder.committed_tx_author(&origin.client_id, origin.tx_id, sender)?;
            for entry in &commit.ledger {
                self.recorder.note_op_author(&origin.client_id, entry.epoch, entry.op_id, device);
            }
            Some(history::Origin { device, tx_id: origin.tx_id })
        });
        history::Commit {
            seq: commit.seq,
            received_us: commit.received_us,
            origin,
            foreign: false,
            changes: commit
                .changes
                .iter()
                .map(|change| history::Change {
                    row: row(change.table, &change.id),
                    before: change.before.clone(),
                    after: change.after.clone(),
                    op_id: change.by,
                })
                .collect(),
            ledger: commit
                .ledger
                .iter()
                .map(|entry| OpAnswer {
                    op_id: entry.op_id,
                    outcome: outcome(entry.answer.outcome),
                    reason: entry.answer.reason.as_deref().map(str::to_owned),
                    by: entry.answer.by.as_deref().map(|by| self.recorder.writer(by)),
                    merged_into: entry.answer.merged_into.as_deref().and_then(|survivor| {
                        let alias = commit.aliases.iter().find(|(_, _, to)| **to == *survivor);
                        let table = alias.map(|(table, _, _)| *table).or_else(|| table_of(entry.op_id))?;
                        Some(row(table, survivor))
                    }),
                })
                .collect(),
            conflicts: commit
                .conflicts
                .iter()
                .map(|record| ConflictRecord {
                    row: row(record.table, &record.id),
                    column: record.column.as_deref().map(str::to_owned),
                    rule: record.rule.to_string(),
                    loser: self.writer(&record.loser),
                    winner: self.writer(&record.winner),
                })
                .collect(),
            aliases: commit
                .aliases
                .iter()
                .map(|(table, losing, survivor)| (row(*table, losing), row(*table, survivor)))
                .collect(),
        }
    }

    fn writer(&self, author: &Author) -> Writer {
        match author {
            Author::Server => Writer::Server,
            Author::Client(writer) => match self.recorder.op_author(&writer.client, writer.epoch, writer.op) {
                Some(device) => Writer::Client { device, op_id: writer.op },
                None => Writer::Other(format!("{}/{}", writer.client, writer.op)),
            },
        }
    }

    /// What `GET /conflicts` gives the device's user, page by page; `None` where the backend has no such route.
    ///
    /// # Errors
    /// In words, when the answer is none.
    pub(super) async fn conflicts(
        &self,
        network: &SimNetwork,
        device: u32,
    ) -> Result<Option<Vec<ConflictRecord>>, String> {
        let mut records = Vec::new();
        let mut after = 0;
        loop {
            let request = Request {
                server: ServerRole::Backend,
                purpose: Purpose::Conflicts,
                subject: after,
                attempt: 1,
                body: None,
                path: format!("/conflicts?after={after}"),
                token: network.token(device),
                timeout: Duration::from_secs(30),
            };
            let answer = network.send(device, request).await.map_err(|error| error.to_string())?;
            if answer.status == 404 {
                return Ok(None);
            }
            let (page, last, has_more) = self.read_conflicts(&answer)?;
            records.extend(page);
            if !has_more {
                return Ok(Some(records));
            }
            after = last;
        }
    }

    fn read_conflicts(&self, answer: &Response) -> Result<(Vec<ConflictRecord>, u64, bool), String> {
        #[derive(serde::Deserialize)]
        struct Reply {
            conflicts: Vec<Record>,
            #[serde(default)]
            last: u64,
            #[serde(default)]
            has_more: bool,
        }
        #[derive(serde::Deserialize)]
        struct Record {
            table: String,
            id: String,
            #[serde(default)]
            column: Option<String>,
            rule: String,
            loser: String,
            winner: String,
        }
        if answer.status != 200 {
            return Err(format!("status {}", answer.status));
        }
        let reply: Reply = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
        let mut records = Vec::with_capacity(reply.conflicts.len());
        for record in reply.conflicts {
            let table = self
                .app
                .schema
                .table_index(&record.table)
                .ok_or_else(|| format!("unknown table {}", record.table))?;
            records.push(ConflictRecord {
                row: self.recorder.row(table, &record.id),
                column: record.column,
                rule: record.rule,
                loser: self.recorder.writer(&record.loser),
                winner: self.recorder.writer(&record.winner),
            });
        }
        Ok((records, reply.last, reply.has_more))
    }

    /// Every row that the plan names, by table and id.
    pub(super) fn rows(&self) -> Vec<(usize, Arc<str>)> {
        let numbers = 0..u32::try_from(self.plan.rows.len()).unwrap_or(u32::MAX);
        numbers.map(|row| (table_of(&self.app, &self.plan, row), Arc::from(self.plan.row_id(row)))).collect()
    }

    /// The seed rows, as the server has them before plan time 0.
    pub(super) fn seed_rows(&self) -> Vec<SeedRow> {
        let mut rows = Vec::new();
        for seed in &self.plan.seed_rows {
            let table = table_of(&self.app, &self.plan, seed.row);
            let mut values = Vec::new();
            for (name, expr) in &seed.set {
                match server_value(&self.app, &self.plan, table, name, expr, EPOCH_US) {
                    Some(Ok(value)) => values.push(value),
                    Some(Err(error)) => self.recorder.record_harness_failure(format!("seed row #{}: {error}", seed.row)),
                    None => {}
                }
            }
            rows.push((table, Arc::from(self.plan.row_id(seed.row)), values));
        }
        rows
    }
}

/// The table of a symbolic row.
pub(super) fn table_of(app: &App, plan: &Plan, row: u32) -> usize {
    app.schema.table_index(&plan.rows[row as usize]).expect("plans are checked against the schema")
}

/// A column and its value, as the server itself writes it at this instant; `None` for a column that it does not have.
pub(super) fn server_value(
    app: &App,
    plan: &Plan,
    table: usize,
    name: &str,
    expr: &Expr,
    now_us: i64,
) -> Option<Result<(usize, Value), String>> {
    let schema = &app.schema.tables[table];
    let column = schema.column_index(name)?;
    let json = match expr {
        Expr::Value(json) => json.clone(),
        Expr::Id(row) => plan.row_id(*row).into(),
        Expr::Now => clock_text(now_us).into(),
        Expr::Device => "server".into(),
    };
    let value = Value::from_json(schema.columns[column].ty, &json);
    Some(value.map(|value| (column, value)).map_err(|error| format!("{name}: {error}")))
}

/// The history's name for the device that sent an upload: its storage may have been lost since.
pub(super) fn sender(recorder: &Recorder, sent: RequestTag) -> u32 {
    recorder.installation(sent.device, UploadSubject::decode(sent.subject).losses)
}

/// Records a second delivery of an upload, as a proxy's log shows it: there was an answer, and the device never saw it.
pub(super) fn repeated(recorder: &Recorder, device: u32, request: &Request, status: Option<u16>) {
    let tx_id = UploadSubject::decode(request.subject).tx_id;
    let maker = recorder.tx_author(sender(recorder, RequestTag { device, subject: request.subject }), tx_id);
    let (phase, attempt) = (history::Phase::Info, request.attempt);
    let upload = history::Upload { phase, tx_id, attempt, status, outcome: None, ops: Vec::new() };
    recorder.add(Who::Client(maker), What::Upload(upload));
}

fn outcome(outcome: backend::wire::Outcome) -> Outcome {
    match outcome {
        backend::wire::Outcome::Applied => Outcome::Applied,
        backend::wire::Outcome::Merged => Outcome::Merged,
        backend::wire::Outcome::Superseded => Outcome::Superseded,
        backend::wire::Outcome::Rejected => Outcome::Rejected,
        backend::wire::Outcome::RolledBack => Outcome::RolledBack,
    }
}

/// A signed token. Times are in seconds since 1970.
pub(super) fn signed(signer: &Signer, subject: &str, audience: &str, iat: i64, exp: i64) -> String {
    let claims = Claims { sub: subject.to_owned(), aud: audience.to_owned(), iat, exp };
    signer.sign(&claims).expect("a key signs any claims by its own algorithm")
}

/// Mints tokens as the app's sign-in would.
pub(super) fn minter(
    plan: Rc<Plan>,
    recorder: Recorder,
    issuer: Issuer,
    audience: &str,
) -> impl Fn(u32, bool) -> String + use<> {
    let audience = audience.to_owned();
    move |device, wrong_audience| {
        let signer = match &issuer {
            Issuer::Signer(signer) => signer,
            Issuer::Text(token) => return token.clone(),
        };
        let iat = (EPOCH_US + recorder.now_us()).div_euclid(1_000_000);
        let audience = if wrong_audience { "another-app" } else { &audience };
        let exp = iat + i64::from(plan.token_lifetime_s);
        signed(signer, &plan.devices[device as usize].user, audience, iat, exp)
    }
}
