//! Planted defects: proof that the checkers catch something.
//!
//! Each wraps one seam: the policy's decisions and rules and the store behind the endpoint ([`backend`]), what is
//! replicated to the service ([`service`]), what passes between device and servers ([`network`]). Product crates
//! carry no mutation code. A checker that lets one live is itself defective.

pub mod backend;
pub mod network;
pub mod service;

use std::rc::Rc;
use std::sync::Arc;

use ::backend::{Policy, Rules, Store};
use fixtures::App;
use sim_core::run::Place;
use sim_network::Network;
use sim_service::changes::SourceTransaction;
use sim_world::WorldKind;
use sim_world::seams::{Rows, Seams};

/// A planted defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// On a conflict, the later arrival stays.
    ArrivalWins,
    /// Liar: everything is answered `superseded`, and nothing is done.
    SupersedesEverything,
    /// Liar: conflict records name the loser as the winner.
    NamesWrongWinner,
    /// Overrides leave no record.
    ForgetsRecords,
    /// The columns of a group are decided one by one.
    SplitsGroups,
    /// Counters take the value that was sent.
    OverwritesCounters,
    /// Sets take the value that was sent.
    OverwritesSets,
    /// A repeated upload takes effect again.
    ForgetsUploads,
    /// The last operation of a transaction is acknowledged and not done.
    DropsLastOperation,
    /// Liar: lawful transactions are refused, without a record.
    RefusesSilently,
    /// An acknowledged transaction is not committed.
    AcknowledgesWithoutCommit,
    /// Parent changes are not looked at: cycles come about.
    AllowsCycles,
    /// Deletes leave the children.
    LeavesOrphans,
    /// Any number of timers runs.
    AllowsTwoLeaders,
    /// Deletes are not replicated.
    DropsDeletes,
    /// Some row changes are not replicated.
    SkipsChanges,
    /// A transaction of several rows arrives as two.
    SplitsTransactions,
    /// Write checkpoints are acknowledged before the writes are replicated.
    AcknowledgesEarly,
    /// A new snapshot after a lost slot keeps rows that were deleted meanwhile.
    SnapshotForgetsDeletes,
    /// Compaction takes a row that is still there.
    CompactionDropsRows,
    /// A key that is replaced is forgotten at once, though tokens that it signed are still good.
    DropsOldKeys,
    /// The ledger goes by the numbers of operations, whatever they say: of a restored copy it takes new for old.
    LedgerGoesByNumber,
    /// Nothing is replicated at all: must be caught by the first plan, or nothing can be trusted.
    Canary,
    /// Liar: a transaction is dropped from the queue and never reaches the backend.
    DropsQueue,
    /// A failed upload counts as done.
    CompletesOnError,
    /// A failed upload is never tried again.
    NeverRetries,
    /// Operations of a transaction are uploaded one by one.
    UploadsPiecemeal,
    /// A value in a data line changes on its way.
    CorruptsValues,
    /// A data line vanishes, and the stream goes on.
    LosesLines,
    /// A data line arrives twice.
    RepeatsLines,
    /// Of equal stamps the later arrival stays.
    TiesByArrival,
    /// Of several overridden writes only the first is on record.
    ForgetsSecondLoser,
    /// Conflict records name a rule that did not decide.
    RecordsWrongRule,
    /// Conflict records name the server as the winner.
    NamesServerAsWinner,
    /// What merged with what was there is answered applied.
    CallsMergedApplied,
    /// An edit that lost whole is answered merged.
    CallsLostMerged,
    /// An empty text is stored as NULL.
    StoresEmptyAsNull,
    /// NULL in a text column is stored as the empty text.
    StoresNullAsEmpty,
    /// Space at the end of a text is cut off.
    TrimsTexts,
    /// A new line in a text is stored as a space.
    JoinsLines,
    /// Texts are cut after 255 characters.
    CutsLongTexts,
    /// Numbers with a fraction are rounded to four bytes.
    RoundsNumbers,
    /// A column that is set to NULL is passed over.
    IgnoresNulls,
    /// A column that is set to 0 is passed over.
    IgnoresZeros,
    /// What a device had seen is not looked at.
    IgnoresBases,
    /// The server puts its own time in place of the device's stamp.
    StampsByServer,
    /// Of an update of several columns the last is passed over.
    ForgetsLastColumn,
    /// Deletes are acknowledged and not done.
    KeepsDeleted,
    /// The first operation of a transaction is done twice.
    DoesFirstTwice,
    /// Whatever became of an operation, it is answered applied.
    AnswersApplied,
    /// A repeated upload is answered applied, whatever the first answer was.
    AnswersRepeatsApplied,
    /// Transactions of more than three operations are refused, without a record.
    RefusesLarge,
    /// Nobody can read the conflict records.
    HidesConflicts,
    /// The last conflict record cannot be read.
    HidesLastConflict,
    /// New rows are not replicated.
    DropsInserts,
    /// The last column of a change is replicated as it was before.
    ReplicatesStaleColumn,
    /// Transactions of several rows are not replicated.
    DropsLargeTransactions,
    /// A column that became NULL is replicated as it was before.
    ReplicatesNullsLate,
    /// Of a transaction only the changes of its first table are replicated.
    DropsSecondTable,
    /// Write checkpoints are never acknowledged.
    NeverAcknowledges,
    /// The last operation of a transaction is left out of its upload, and counts as done.
    TruncatesBatches,
    /// A value changes before it is uploaded.
    CorruptsUploads,
    /// An upload that is refused for its token counts as done.
    CompletesOnRefusedToken,
    /// Whatever write checkpoint is given, the device takes it for the first.
    RepeatsWriteCheckpoints,
    /// NULLs are left out of uploads.
    UploadsWithoutNulls,
    /// Two data lines arrive in the other order.
    SwapsLines,
    /// A data line ends too early.
    CutsLines,
    /// The line that completes a checkpoint vanishes, and the stream goes on.
    LosesCompletions,
    /// A checksum changes on its way.
    ChangesChecksums,
    /// A checkpoint acknowledges more than was asked for.
    AcknowledgesOthers,
}

impl Mutant {
    /// Every defect.
    pub const ALL: [Self; 70] = [
        Self::ArrivalWins,
        Self::SupersedesEverything,
        Self::NamesWrongWinner,
        Self::ForgetsRecords,
        Self::SplitsGroups,
        Self::OverwritesCounters,
        Self::OverwritesSets,
        Self::ForgetsUploads,
        Self::DropsLastOperation,
        Self::RefusesSilently,
        Self::AcknowledgesWithoutCommit,
        Self::AllowsCycles,
        Self::LeavesOrphans,
        Self::AllowsTwoLeaders,
        Self::DropsDeletes,
        Self::SkipsChanges,
        Self::SplitsTransactions,
        Self::AcknowledgesEarly,
        Self::SnapshotForgetsDeletes,
        Self::CompactionDropsRows,
        Self::DropsOldKeys,
        Self::LedgerGoesByNumber,
        Self::Canary,
        Self::DropsQueue,
        Self::CompletesOnError,
        Self::NeverRetries,
        Self::UploadsPiecemeal,
        Self::CorruptsValues,
        Self::LosesLines,
        Self::RepeatsLines,
        Self::TiesByArrival,
        Self::ForgetsSecondLoser,
        Self::RecordsWrongRule,
        Self::NamesServerAsWinner,
        Self::CallsMergedApplied,
        Self::CallsLostMerged,
        Self::StoresEmptyAsNull,
        Self::StoresNullAsEmpty,
        Self::TrimsTexts,
        Self::JoinsLines,
        Self::CutsLongTexts,
        Self::RoundsNumbers,
        Self::IgnoresNulls,
        Self::IgnoresZeros,
        Self::IgnoresBases,
        Self::StampsByServer,
        Self::ForgetsLastColumn,
        Self::KeepsDeleted,
        Self::DoesFirstTwice,
        Self::AnswersApplied,
        Self::AnswersRepeatsApplied,
        Self::RefusesLarge,
        Self::HidesConflicts,
        Self::HidesLastConflict,
        Self::DropsInserts,
        Self::ReplicatesStaleColumn,
        Self::DropsLargeTransactions,
        Self::ReplicatesNullsLate,
        Self::DropsSecondTable,
        Self::NeverAcknowledges,
        Self::TruncatesBatches,
        Self::CorruptsUploads,
        Self::CompletesOnRefusedToken,
        Self::RepeatsWriteCheckpoints,
        Self::UploadsWithoutNulls,
        Self::SwapsLines,
        Self::CutsLines,
        Self::LosesCompletions,
        Self::ChangesChecksums,
        Self::AcknowledgesOthers,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.described().0
    }

    /// Where it is planted.
    #[must_use]
    pub fn place(self) -> Place {
        self.described().1
    }

    /// Whether it can be planted there: what wraps a server needs the server in this process.
    pub(crate) fn is_for(self, world: &WorldKind) -> bool {
        matches!(world, WorldKind::Deterministic) || matches!(self.place(), Place::Engine | Place::Network)
    }

    /// The scenario in which it must show.
    #[must_use]
    pub fn scenario(self) -> &'static str {
        self.described().2
    }

    /// Name, place, and the scenario in which it must show.
    fn described(self) -> (&'static str, Place, &'static str) {
        match self {
            Self::ArrivalWins => ("arrival-wins", Place::Policy, "same-field"),
            Self::SupersedesEverything => ("supersedes-everything", Place::Policy, "same-field"),
            Self::NamesWrongWinner => ("names-wrong-winner", Place::Policy, "same-field"),
            Self::ForgetsRecords => ("forgets-records", Place::Policy, "same-field"),
            Self::SplitsGroups => ("splits-groups", Place::Policy, "canvas-move"),
            Self::OverwritesCounters => ("overwrites-counters", Place::Policy, "pomodoro-counter"),
            Self::OverwritesSets => ("overwrites-sets", Place::Policy, "tag-sets"),
            Self::ForgetsUploads => ("forgets-uploads", Place::Store, "lost-reply"),
            Self::DropsLastOperation => ("drops-last-operation", Place::Store, "complete-task"),
            Self::RefusesSilently => ("refuses-silently", Place::Store, "same-field"),
            Self::AcknowledgesWithoutCommit => ("acknowledges-without-commit", Place::Store, "same-field"),
            Self::AllowsCycles => ("allows-cycles", Place::Store, "reparent-cycle"),
            Self::LeavesOrphans => ("leaves-orphans", Place::Store, "subtask-of-deleted-task"),
            Self::AllowsTwoLeaders => ("allows-two-leaders", Place::Store, "timer-leader"),
            Self::DropsDeletes => ("drops-deletes", Place::Service, "edit-meets-delete"),
            Self::SkipsChanges => ("skips-changes", Place::Service, "same-field"),
            Self::SplitsTransactions => ("splits-transactions", Place::Service, "complete-task"),
            Self::AcknowledgesEarly => ("acknowledges-early", Place::Service, "stalled-replication"),
            Self::SnapshotForgetsDeletes => ("snapshot-forgets-deletes", Place::Service, "slot-lost"),
            Self::CompactionDropsRows => ("compaction-drops-rows", Place::Service, "compaction"),
            Self::DropsOldKeys => ("drops-old-keys", Place::Service, "key-rotation"),
            Self::LedgerGoesByNumber => ("ledger-goes-by-number", Place::Store, "restored-copy"),
            Self::Canary => ("canary", Place::Service, "same-field"),
            Self::DropsQueue => ("drops-queue", Place::Engine, "same-field"),
            Self::CompletesOnError => ("completes-on-error", Place::Engine, "servers-restart"),
            Self::NeverRetries => ("never-retries", Place::Engine, "same-field"),
            Self::UploadsPiecemeal => ("uploads-piecemeal", Place::Engine, "complete-task"),
            Self::CorruptsValues => ("corrupts-values", Place::Network, "same-field"),
            Self::LosesLines => ("loses-lines", Place::Network, "same-field"),
            Self::RepeatsLines => ("repeats-lines", Place::Network, "same-field"),
            Self::TiesByArrival => ("ties-by-arrival", Place::Policy, "same-field"),
            Self::ForgetsSecondLoser => ("forgets-second-loser", Place::Policy, "edit-meets-delete"),
            Self::RecordsWrongRule => ("records-wrong-rule", Place::Policy, "same-field"),
            Self::NamesServerAsWinner => ("names-server-as-winner", Place::Policy, "same-field"),
            Self::CallsMergedApplied => ("calls-merged-applied", Place::Policy, "tag-sets"),
            Self::CallsLostMerged => ("calls-lost-merged", Place::Policy, "same-field"),
            Self::StoresEmptyAsNull => ("stores-empty-as-null", Place::Store, "any-edit"),
            Self::StoresNullAsEmpty => ("stores-null-as-empty", Place::Store, "any-edit"),
            Self::TrimsTexts => ("trims-texts", Place::Store, "any-edit"),
            Self::JoinsLines => ("joins-lines", Place::Store, "any-edit"),
            Self::CutsLongTexts => ("cuts-long-texts", Place::Store, "any-edit"),
            Self::RoundsNumbers => ("rounds-numbers", Place::Store, "any-edit"),
            Self::IgnoresNulls => ("ignores-nulls", Place::Store, "any-edit"),
            Self::IgnoresZeros => ("ignores-zeros", Place::Store, "any-edit"),
            Self::IgnoresBases => ("ignores-bases", Place::Store, "pomodoro-counter"),
            Self::StampsByServer => ("stamps-by-server", Place::Store, "clock-skew"),
            Self::ForgetsLastColumn => ("forgets-last-column", Place::Store, "complete-task"),
            Self::KeepsDeleted => ("keeps-deleted", Place::Store, "edit-meets-delete"),
            Self::DoesFirstTwice => ("does-first-twice", Place::Store, "pomodoro-counter"),
            Self::AnswersApplied => ("answers-applied", Place::Store, "same-field"),
            Self::AnswersRepeatsApplied => ("answers-repeats-applied", Place::Store, "lost-reply"),
            Self::RefusesLarge => ("refuses-large", Place::Store, "day"),
            Self::HidesConflicts => ("hides-conflicts", Place::Store, "same-field"),
            Self::HidesLastConflict => ("hides-last-conflict", Place::Store, "same-field"),
            Self::DropsInserts => ("drops-inserts", Place::Service, "pomodoro-counter"),
            Self::ReplicatesStaleColumn => ("replicates-stale-column", Place::Service, "same-field"),
            Self::DropsLargeTransactions => ("drops-large-transactions", Place::Service, "complete-task"),
            Self::ReplicatesNullsLate => ("replicates-nulls-late", Place::Service, "any-edit"),
            Self::DropsSecondTable => ("drops-second-table", Place::Service, "complete-task"),
            Self::NeverAcknowledges => ("never-acknowledges", Place::Service, "same-field"),
            Self::TruncatesBatches => ("truncates-batches", Place::Engine, "complete-task"),
            Self::CorruptsUploads => ("corrupts-uploads", Place::Engine, "same-field"),
            Self::CompletesOnRefusedToken => ("completes-on-refused-token", Place::Engine, "token-expiry"),
            Self::RepeatsWriteCheckpoints => ("repeats-write-checkpoints", Place::Engine, "same-field"),
            Self::UploadsWithoutNulls => ("uploads-without-nulls", Place::Engine, "any-edit"),
            Self::SwapsLines => ("swaps-lines", Place::Network, "same-field"),
            Self::CutsLines => ("cuts-lines", Place::Network, "same-field"),
            Self::LosesCompletions => ("loses-completions", Place::Network, "same-field"),
            Self::ChangesChecksums => ("changes-checksums", Place::Network, "same-field"),
            Self::AcknowledgesOthers => ("acknowledges-others", Place::Network, "same-field"),
        }
    }
}

/// The seams of a stack in which one defect is planted.
#[derive(Clone, Copy, Debug)]
pub struct Planted(pub Mutant);

impl Seams for Planted {
    fn rules(&self, app: &App, rules: &Arc<Rules>) -> Arc<Rules> {
        backend::rules(app, rules, self.0)
    }

    fn policy(&self, policy: Arc<dyn Policy>) -> Arc<dyn Policy> {
        backend::policy(policy, self.0)
    }

    fn store(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        backend::store(store, self.0)
    }

    fn network(&self, network: Rc<dyn Network>) -> Rc<dyn Network> {
        Rc::new(network::DefectiveNetwork::new(network, self.0))
    }

    fn replicated(&self, transaction: SourceTransaction) -> Vec<SourceTransaction> {
        service::replicated(transaction, self.0)
    }

    fn head(&self, last: u64) -> u64 {
        service::head(last, self.0)
    }

    fn remembered(&self, rows: &dyn Fn() -> Rows) -> Rows {
        if self.0 == Mutant::SnapshotForgetsDeletes { rows() } else { Rows::new() }
    }

    fn snapshot(&self, rows: Rows, remembered: &Rows) -> Rows {
        service::snapshot(rows, remembered)
    }

    fn compacted(&self, rows: &dyn Fn() -> Rows) -> Option<Rows> {
        (self.0 == Mutant::CompactionDropsRows).then(|| service::without_last(rows()))
    }

    fn keeps_replaced_keys(&self) -> bool {
        self.0 != Mutant::DropsOldKeys
    }
}
