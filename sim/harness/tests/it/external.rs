//! The external world, for real: a stack that the run did not start, which it writes to when it may, judges, and leaves
//! as it was.

mod baseline;
mod endings;
mod handlers;
mod postgrest;
mod refusals;
mod relay;
mod rig;
mod server_made;
mod sql;
mod time;
mod verdicts;

use std::process::Output;
use std::time::Duration;

use serde_json::Value as Json;

use self::rig::{Endpoint, Rig};

/// Runs on a runtime with threads of its own, for the servers that run in this process.
fn with<T>(endpoint: Endpoint, test: impl AsyncFnOnce(&Rig) -> T) -> T {
    runtime().block_on(async {
        let rig = Rig::start(endpoint, None).await;
        test(&rig).await
    })
}

/// The same, with our own endpoint, where the service confirms its slot so much later.
fn with_late_slot<T>(delay: Duration, test: impl AsyncFnOnce(&Rig) -> T) -> T {
    runtime().block_on(async {
        let rig = Rig::start(Endpoint::Own { annotates: true }, Some(delay)).await;
        test(&rig).await
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// The program's JSON.
fn told(output: &Output) -> Json {
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}
