//! The containers of a deployment: whether each runs and is healthy, and the last words of one that does not.

use serde_json::Value as Json;

use super::{Check, Lines};
use sim_stack::existing_stack::ExistingStack;
use sim_stack::existing_stack::program::{self, NotRun};

/// How many lines of a log are shown.
const LOG_LINES: &str = "6";
/// The line where nothing could be asked.
const ALL: &str = "all run";

/// The lines about the containers: one each, or one that says why there are none.
pub(super) fn checks(target: &ExistingStack) -> Vec<Check> {
    let mut lines = Lines::about("containers");
    let Some(deployment) = &target.deployment else {
        lines.skipped(ALL, "docker is not asked without --deployment; the parts are asked over the network");
        return lines.checks;
    };
    let names: Vec<String> = fixtures::deployment::images()
        .into_iter()
        .filter(|(part, _)| part != "mongodb" || deployment.has_mongodb())
        .filter_map(|(_, image)| image.container)
        .collect();
    match inspected(target, &names) {
        Err(reason) => lines.skipped(ALL, reason),
        Ok(found) => {
            for name in &names {
                let container = found.iter().find(|one| one["Name"].as_str() == Some(&format!("/{name}")));
                judge(name, container, &mut lines, || log_tail(target, name));
            }
        }
    }
    lines.checks
}

/// What docker knows of these containers; names that it does not know are left out.
///
/// # Errors
/// Why docker could not be asked.
pub(super) fn inspected(target: &ExistingStack, names: &[String]) -> Result<Vec<Json>, String> {
    let args: Vec<&str> = ["container", "inspect"].into_iter().chain(names.iter().map(String::as_str)).collect();
    match program::run("docker", &args, target.patience()) {
        Ok(said) => match serde_json::from_str::<Vec<Json>>(said.stdout.trim()) {
            // Where one name is unknown, docker fails, and shows the others.
            Ok(found) if said.success || said.stderr.to_ascii_lowercase().contains("no such container") => Ok(found),
            _ => Err(format!("docker cannot be asked: {}", said.stderr.lines().last().unwrap_or("it says nothing"))),
        },
        Err(NotRun::Absent) => Err("there is no program docker here; the parts are asked over the network".to_owned()),
        Err(NotRun::Late) => Err("docker does not answer in time".to_owned()),
        Err(NotRun::Failed(said)) => Err(format!("docker cannot be started: {said}")),
    }
}

fn judge(name: &str, container: Option<&Json>, lines: &mut Lines, log: impl FnOnce() -> String) {
    let Some(container) = container else {
        return lines.failed(
            name,
            "there is no such container",
            "in the deployment's folder: docker compose up --detach --wait",
        );
    };
    let state = &container["State"];
    let status = state["Status"].as_str().unwrap_or("unknown");
    let health = state["Health"]["Status"].as_str();
    let restarts = container["RestartCount"].as_u64().unwrap_or(0);
    let again = if restarts > 0 { format!(", restarted {restarts} times") } else { String::new() };
    let with_log = |said: String| {
        let log = log();
        if log.is_empty() { format!("{said}; its log is empty") } else { format!("{said}; its last lines:\n{log}") }
    };
    match (status, health) {
        ("running", None) => lines.ok(name, format!("running{again}")),
        ("running", Some("healthy")) => lines.ok(name, format!("running, healthy{again}")),
        ("running", Some("starting")) => {
            lines.skipped(name, format!("running{again}, and its first health check is not over"))
        }
        ("running", Some(health)) => lines.failed(
            name,
            with_log(format!("it runs, and is {health}{again}")),
            format!("put right what its log says; docker inspect {name} shows what the health check said"),
        ),
        _ => {
            let exit = state["ExitCode"].as_i64().unwrap_or(0);
            let error = state["Error"].as_str().filter(|error| !error.is_empty());
            let error = error.map_or_else(String::new, |error| format!(": {error}"));
            lines.failed(
                name,
                with_log(format!("it does not run ({status}, exit code {exit}{again}){error}")),
                "put right what its log says; then, in the deployment's folder: docker compose up --detach --wait",
            );
        }
    }
}

/// The end of a container's log, both streams.
fn log_tail(target: &ExistingStack, name: &str) -> String {
    match program::run("docker", &["container", "logs", "--tail", LOG_LINES, name], target.patience()) {
        Ok(said) => format!("{}{}", said.stdout, said.stderr).trim().to_owned(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Outcome;
    use serde_json::json;

    #[test]
    fn states() {
        let container = |state: Json| Some(json!({"Name": "/x", "State": state, "RestartCount": 2}));
        let table = [
            (None, "failed", "no such container"),
            (container(json!({"Status": "running"})), "ok", "restarted 2 times"),
            (container(json!({"Status": "running", "Health": {"Status": "healthy"}})), "ok", "healthy"),
            (container(json!({"Status": "running", "Health": {"Status": "starting"}})), "skipped", "not over"),
            (container(json!({"Status": "running", "Health": {"Status": "unhealthy"}})), "failed", "the log"),
            (container(json!({"Status": "exited", "ExitCode": 3, "Error": "boom"})), "failed", "exit code 3"),
            (container(json!({"Status": "restarting", "ExitCode": 1})), "failed", "the log"),
            (container(json!({})), "failed", "unknown"),
        ];
        for (container, word, said) in table {
            let mut lines = Lines::about("containers");
            judge("x", container.as_ref(), &mut lines, || "the log".to_owned());
            let (found, told) = match &lines.checks[0].outcome {
                Outcome::Ok { note } => ("ok", note),
                Outcome::Failed { diagnosis, .. } => ("failed", diagnosis),
                Outcome::Skipped { reason } => ("skipped", reason),
            };
            assert_eq!(found, word, "{told}");
            assert!(told.contains(said), "{told}");
        }
    }
}
