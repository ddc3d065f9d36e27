//! The external world, for real: a stack that the run did not start, which it writes to when it may, judges, and leaves
//! as it was.

mod baseline;
mod endings;
mod postgrest;
mod refusals;
mod rig;
mod server_made;
mod sql;
mod verdicts;

use std::process::Output;

use serde_json::Value as Json;

use self::rig::{Endpoint, Rig};

/// Runs on a runtime with threads of its own, for the servers that run in this process.
fn with<T>(endpoint: Endpoint, test: impl AsyncFnOnce(&Rig) -> T) -> T {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let rig = Rig::start(endpoint).await;
        test(&rig).await
    })
}

/// The program's JSON.
fn told(output: &Output) -> Json {
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}
