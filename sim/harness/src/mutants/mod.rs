//! Planted defects: proof that the checkers catch something.
//!
//! Each wraps one seam: the policy's decisions and rules and the store behind the endpoint ([`backend`]), what is
//! replicated to the service ([`service`]), what passes between device and servers ([`network`]). Product crates
//! carry no mutation code. A checker that lets one live is itself defective.

pub mod backend;
pub mod network;
pub mod service;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use sim_core::run::{MutantResult, Place};
use sim_core::verdict::Verdict;
use sim_core::workload;

use crate::campaign;
use crate::catalogue;
use crate::cli::MutantsArgs;
use crate::commands::{Asked, CommandError, in_world, workers};
use crate::device::database::Cabinet;
use crate::trial::Setup;

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
}

impl Mutant {
    /// Every defect.
    pub const ALL: [Self; 30] = [
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
    fn is_for(self, world: &crate::world::Kind) -> bool {
        matches!(world, crate::world::Kind::Deterministic) || matches!(self.place(), Place::Engine | Place::Network)
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
        }
    }
}

/// Plants each defect in turn, and runs plans until one is judged invalid.
///
/// # Errors
/// A name that is none, or a scenario that is missing.
pub fn run(args: &MutantsArgs, stop: &AtomicBool, note: &dyn Fn(&str)) -> Result<Vec<MutantResult>, CommandError> {
    let chosen: Vec<Mutant> = if args.mutants.is_empty() {
        Mutant::ALL.to_vec()
    } else {
        args.mutants
            .iter()
            .map(|name| {
                Mutant::ALL.into_iter().find(|mutant| mutant.name() == name).ok_or_else(|| {
                    let known: Vec<&str> = Mutant::ALL.into_iter().map(Mutant::name).collect();
                    CommandError::Usage(format!("mutant {name}: unknown; there are {}", known.join(", ")))
                })
            })
            .collect::<Result<_, _>>()?
    };
    let app = Arc::new(catalogue::app("flowstate").map_err(CommandError::Harness)?);
    let scenarios = catalogue::scenarios(&app).map_err(CommandError::Harness)?;
    let failed = |error: &dyn std::fmt::Display| CommandError::Harness(error.to_string());
    let sound = Setup::new(app.clone(), ::backend::PolicyKind::FieldMerge).map_err(|error| failed(&error))?;
    let asked = Asked { world: &args.world, containers: Some(&args.containers), ..Asked::default() };
    let sound = in_world(sound, "flowstate", &asked)?;
    let mut results = Vec::new();
    for mutant in chosen {
        if !mutant.is_for(&sound.world) {
            note(&format!("{}: not for this world: it wraps a server, which is a process of its own there", mutant.name()));
            continue;
        }
        note(&format!("planting {}", mutant.name()));
        let scenario = scenarios
            .iter()
            .find(|scenario| scenario.name == mutant.described().2)
            .ok_or_else(|| CommandError::Harness(format!("scenario {} is missing", mutant.described().2)))?;
        let setup = Setup { mutant: Some(mutant), ..sound.clone() };
        results.push(hunt(&setup, scenario, args, stop));
    }
    Ok(results)
}

/// Runs plans in order of their number until one is invalid; several at once, but the lowest number counts.
fn hunt(setup: &Setup, scenario: &sim_core::scenario::Scenario, args: &MutantsArgs, stop: &AtomicBool) -> MutantResult {
    let mutant = setup.mutant.expect("a mutant is hunted");
    let next = AtomicU32::new(0);
    let caught: std::sync::Mutex<Option<(u32, String)>> = std::sync::Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..workers(args.workers) {
            scope.spawn(|| {
                let Ok(mut cabinet) = Cabinet::new(&setup.app) else { return };
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let lowest = caught.lock().ok().and_then(|caught| caught.as_ref().map(|(index, _)| *index));
                    if index >= args.plans || lowest.is_some_and(|lowest| index > lowest) || stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let seed = workload::plan_seed(args.seed, &scenario.name, u64::from(index));
                    let plan = workload::generate(scenario, &setup.app, seed);
                    let Ok(judged) = campaign::judge(setup, &scenario.promises, &plan, None, &mut cabinet) else { return };
                    let report = &judged.examined.report;
                    if report.verdict() == Verdict::Invalid
                        && let Some(anomaly) = report.anomalies().next()
                        && let Ok(mut caught) = caught.lock()
                        && caught.as_ref().is_none_or(|(lowest, _)| index < *lowest)
                    {
                        *caught = Some((index, anomaly.checker.to_owned()));
                    }
                }
            });
        }
    });
    let caught = caught.into_inner().ok().flatten();
    MutantResult {
        name: mutant.name().to_owned(),
        place: mutant.place(),
        caught: caught.is_some(),
        plans: caught.as_ref().map_or(args.plans, |(index, _)| index + 1),
        checker: caught.map(|(_, checker)| checker),
    }
}
