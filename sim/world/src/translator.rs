//! Puts what servers say into the words of one plan's history: commits, conflict records, second deliveries.

use std::sync::Arc;
use std::time::Duration;

use backend::record::{Author, Commit, LedgerRow, Origin};
use fixtures::App;
use sim_core::history::{self, ConflictRecord, OpAnswer, Outcome, What, Who, Writer};
use sim_device::recorder::Recorder;
use sim_device::upload_subject::UploadSubject;
use sim_network::sim::SimNetwork;
use sim_network::{Network, Purpose, Request, RequestTag, Response, ServerRole};

/// Knows the history's names for devices and rows.
pub(crate) struct Translator {
    app: Arc<App>,
    recorder: Recorder,
}

impl Translator {
    pub(crate) fn new(app: Arc<App>, recorder: Recorder) -> Self {
        Self { app, recorder }
    }

    /// A commit as an event of the history. `sent` says which device's request made it, where that is known;
    /// `is_foreign`: a client made it that the plan does not know.
    pub(crate) fn commit(&self, commit: &Commit, sent: Option<RequestTag>, is_foreign: bool) -> history::Commit {
        let row = |table: usize, id: &str| self.recorder.row(table, id);
        let table_of =
            |op_id: i64| commit.changes.iter().find(|change| change.by == Some(op_id)).map(|change| change.table);
        // Entered first: the answers and records below may name operations of this commit.
        let origin = commit.origin.as_ref().and_then(|origin| self.origin(origin, &commit.ledger, sent));
        history::Commit {
            seq: commit.seq,
            received_us: commit.received_us,
            origin,
            foreign: is_foreign,
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

    /// The device whose transaction a commit is, and its number there.
    pub(crate) fn origin(
        &self,
        origin: &Origin,
        ledger: &[LedgerRow],
        sent: Option<RequestTag>,
    ) -> Option<history::Origin> {
        // Copies of one database share a client id: the request tells them apart.
        let sender = sent.map(|sent| sending_device(&self.recorder, sent));
        let device = self.recorder.committed_tx_author(&origin.client_id, origin.tx_id, sender)?;
        for entry in ledger {
            self.recorder.note_op_author(&origin.client_id, entry.epoch, entry.op_id, device);
        }
        Some(history::Origin { device, tx_id: origin.tx_id })
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

    /// The conflict records of the device's user, from `GET /conflicts`, page by page; `None` where the backend has no
    /// such route.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(crate) async fn conflicts(
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
            let table =
                self.app.schema.table_index(&record.table).ok_or_else(|| format!("unknown table {}", record.table))?;
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
}

/// The history's name for the device that sent an upload: its storage may have been lost since.
fn sending_device(recorder: &Recorder, sent: RequestTag) -> u32 {
    recorder.installation(sent.device, UploadSubject::decode(sent.subject).losses)
}

/// Records a second delivery of an upload: there was an answer, and the device never saw it.
pub(crate) fn record_second_delivery(recorder: &Recorder, device: u32, request: &Request, status: Option<u16>) {
    let tx_id = UploadSubject::decode(request.subject).tx_id;
    let maker = recorder.tx_author(sending_device(recorder, RequestTag { device, subject: request.subject }), tx_id);
    let (phase, attempt) = (history::Phase::Info, request.attempt);
    let upload = history::Upload { phase, tx_id, attempt, status, outcome: None, ops: Vec::new(), said: None };
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
