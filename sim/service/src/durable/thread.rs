//! The writer's thread: it takes jobs, makes each group of them durable in one commit, and only then shows it to
//! clients and tells the source.

use std::path::Path;

use tokio::sync::{mpsc, watch};

use super::current::CurrentService;
use super::handle::StoreHandle;
use super::job::{DurablePosition, Job};
use super::store::{Store, StoreError, SyncMode};
use super::writer::{Writer, WriterSettings};

/// The greatest number of jobs that become durable together.
const GROUP_MAX: usize = 512;
/// How many jobs may wait before senders have to.
const QUEUE: usize = 2048;

/// Opens a store and starts its writer. When the store has what a service needs, one answers from now on.
///
/// Must be called within a tokio runtime. The thread ends once all handles are gone; the caller may join it.
///
/// # Errors
/// When the store cannot be used, or the thread could not be started.
pub fn start(
    path: &Path,
    sync: SyncMode,
    settings: WriterSettings,
) -> Result<(StoreHandle, std::thread::JoinHandle<()>), StoreError> {
    let store = Store::open(path, sync)?;
    let current = CurrentService::default();
    let (durable, seen) = watch::channel(DurablePosition::default());
    let mut writer = Writer::new(store, settings, current.clone(), durable);
    writer.load()?;
    let (jobs, queue) = mpsc::channel(QUEUE);
    let thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || run(writer, queue))?;
    Ok((StoreHandle::new(jobs, seen, current), thread))
}

fn run(mut writer: Writer, mut queue: mpsc::Receiver<Job>) {
    while let Some(first) = queue.blocking_recv() {
        let mut jobs = vec![first];
        while let Some(next) = (jobs.len() < GROUP_MAX).then(|| queue.try_recv().ok()).flatten() {
            jobs.push(next);
        }
        let mut group = Vec::new();
        for job in jobs {
            let job = match job {
                Job::Group(job) => {
                    group.push(job);
                    continue;
                }
                other => other,
            };
            writer.commit_group(std::mem::take(&mut group));
            // The job is done even if nobody waits for the reply any more.
            match job {
                Job::RequireSnapshot { reply } => {
                    writer.status.snapshot_needed = true;
                    let result = writer.store.commit(|transaction| transaction.snapshot_needed(true));
                    drop(reply.send(result.map_err(Into::into)));
                }
                Job::ApplySnapshot { snapshot, reply } => drop(reply.send(writer.apply_snapshot(*snapshot))),
                Job::Compact { reply } => drop(reply.send(writer.compact())),
                Job::Status { reply } => drop(reply.send(Ok(writer.status.clone()))),
                Job::Close { reply } => {
                    drop(reply.send(Ok(())));
                    return;
                }
                Job::Group(_) => unreachable!("these are committed together"),
            }
        }
        writer.commit_group(group);
    }
}
