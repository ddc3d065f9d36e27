//! `verify` and `audit`: the guide's checklists, asked of a stack that somebody else started.
//!
//! A check is data ([`Check`]: group, name, outcome; a failure has a diagnosis and a fix in words). What could not be
//! found out is skipped, with the reason, and never ok. One cause fails one line: what depends on a part that does not
//! answer is skipped. Every wait is bounded, and only the places that were named are asked.
//!
//! In reading order: `postgres` with `replication`, `service`, `backend`, `stores` (Redis and MongoDB, over `mongodb`),
//! `containers`, `both_ways` (over `real_network`) a row from web to Tauri and back, `audit` (with `credentials`,
//! `weak_secrets`, `exposure`). Where the stack is says [`sim_stack::existing_stack`].

pub mod args;
mod audit;
mod backend;
mod both_ways;
mod claim;
mod containers;
mod credentials;
mod exposure;
mod mongodb;
mod postgres;
mod real_network;
mod replication;
mod service;
mod stores;
mod weak_secrets;

pub use reports::checklist::{Check, Checklist, Outcome};

use crate::args::{AuditArgs, VerifyArgs};
use sim_stack::existing_stack::ExistingStack;

/// The lines about one part of the stack.
struct Lines {
    group: &'static str,
    checks: Vec<Check>,
}

impl Lines {
    fn about(group: &'static str) -> Self {
        Self { group, checks: Vec::new() }
    }

    fn add(&mut self, name: &str, outcome: Outcome) {
        self.checks.push(Check { group: self.group, name: name.to_owned(), outcome });
    }

    fn ok(&mut self, name: &str, note: impl Into<String>) {
        self.add(name, Outcome::Ok { note: note.into() });
    }

    fn failed(&mut self, name: &str, diagnosis: impl Into<String>, fix: impl Into<String>) {
        self.add(name, failed(diagnosis, fix));
    }

    fn skipped(&mut self, name: &str, reason: impl Into<String>) {
        self.add(name, Outcome::Skipped { reason: reason.into() });
    }

    /// The same reason for several lines.
    fn skip_all(&mut self, names: &[&str], reason: &str) {
        for name in names {
            self.skipped(name, reason);
        }
    }
}

fn failed(diagnosis: impl Into<String>, fix: impl Into<String>) -> Outcome {
    Outcome::Failed { diagnosis: diagnosis.into(), fix: fix.into() }
}

/// Runs the guide's verification checklist.
///
/// # Errors
/// What is wrong with the arguments; nothing was asked of the stack then.
pub fn verify(args: &VerifyArgs) -> Result<Checklist, String> {
    let target = ExistingStack::new(&args.stack, args.app.as_deref())?;
    let replica_set = mongodb::replica_set(&target)?;
    let mut checks = containers::checks(&target);
    checks.extend(on_a_runtime(async {
        let (database, (backend, keys), service, stores) = tokio::join!(
            postgres::checks(&target),
            backend::checks(&target),
            service::checks(&target),
            stores::checks(&target, replica_set.as_ref())
        );
        let mut checks = database;
        checks.extend(backend);
        checks.extend(keys);
        checks.extend(service);
        checks.extend(stores);
        let both = both_ways::checks(&target, args.allow_writes, &checks).await;
        checks.extend(both);
        checks
    })?);
    Ok(finished("verify", &target, checks))
}

/// Runs the guide's security checklist.
///
/// # Errors
/// What is wrong with the arguments; nothing was asked of the stack then.
pub fn audit(args: &AuditArgs) -> Result<Checklist, String> {
    let target = ExistingStack::new(&args.stack, args.app.as_deref())?;
    let replica_set = mongodb::replica_set(&target)?;
    let app = args.app.as_deref();
    let public = weak_secrets::PublicFiles::read(app);
    let secret = args.stack.token_secret.as_deref();
    let checks = on_a_runtime(audit::checks(&target, replica_set.as_ref(), &public, secret))?;
    Ok(finished("audit", &target, checks))
}

/// Devices are not `Send`: everything runs on this thread.
fn on_a_runtime(work: impl Future<Output = Vec<Check>>) -> Result<Vec<Check>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    Ok(tokio::task::LocalSet::new().block_on(&runtime, work))
}

fn finished(command: &'static str, target: &ExistingStack, checks: Vec<Check>) -> Checklist {
    let mut list = Checklist { command, stack: target.places(), checks };
    list.rewrite(|text| target.without_secrets(text));
    list
}
