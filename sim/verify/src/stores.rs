//! What stands behind the two servers: Redis, the backend's cache; MongoDB, the service's bucket storage.

use ::mongodb::bson::Document;

use super::mongodb::{NoAnswer, ReplicaSet};
use super::{Check, Lines};
use sim_stack::existing_stack::ExistingStack;
use sim_stack::tls;

/// The name of the guide's replica set.
const USUAL_SET: &str = "rs0";

/// The lines about both.
pub(super) async fn checks(target: &ExistingStack, replica_set: Option<&ReplicaSet>) -> Vec<Check> {
    let mut lines = Lines::about("stores");
    members(target, replica_set, &mut lines).await;
    redis(target, &mut lines).await;
    lines.checks
}

async fn members(target: &ExistingStack, replica_set: Option<&ReplicaSet>, lines: &mut Lines) {
    let name = "MongoDB replica set";
    let Some(replica_set) = replica_set else { return lines.skipped(name, "no --mongodb-url") };
    let mut silent = Vec::new();
    for host in &replica_set.hosts {
        let shown = host.to_string();
        match replica_set.member(host, target.patience()).hello().await {
            Ok(hello) => return judge(&hello, &shown, replica_set.name.as_deref(), lines),
            Err(NoAnswer::Command { message, .. }) => {
                let reason = format!("{shown} refuses hello ({message}): a MongoDB before 5, or another server");
                return lines.skipped(name, reason);
            }
            Err(none) => silent.push(none.words(host)),
        }
    }
    lines.failed(
        name,
        silent.join("; "),
        "start MongoDB (mongod --replSet rs0), or correct host, port and TLS; its log says why it is not up",
    );
}

/// Judges one member by its `hello`.
fn judge(hello: &Document, host: &str, wanted: Option<&str>, lines: &mut Lines) {
    let name = "MongoDB replica set";
    let initiate = format!(
        "execute once, in mongosh: rs.initiate({{_id: \"{}\", members: [{{_id: 0, host: \"{host}\"}}]}}), with the host \
         as the sync service knows it",
        wanted.unwrap_or(USUAL_SET)
    );
    let primary = hello.get_str("primary").ok();
    let is_primary = hello.get_bool("isWritablePrimary").unwrap_or(false);
    match hello.get_str("setName").ok() {
        Some(set) if wanted.is_some_and(|wanted| wanted != set) => lines.failed(
            name,
            format!("{host} is in replica set {set}, and the address asks for {}", wanted.unwrap_or_default()),
            "correct replicaSet in the address, or start mongod with that --replSet",
        ),
        Some(set) if is_primary => lines.ok(name, format!("{set}, {host} is its primary")),
        Some(set) if primary.is_some() => lines.ok(name, format!("{set}, its primary is {}", primary.unwrap_or_default())),
        Some(set) => lines.failed(
            name,
            format!("replica set {set} has no primary: nothing can be written"),
            "see rs.status() in mongosh: a majority of the members must be up and reach each other by the names in rs.conf()",
        ),
        None if hello.get_bool("isreplicaset").unwrap_or(false) => {
            lines.failed(name, format!("{host} runs with --replSet, and the replica set is not initiated"), initiate);
        }
        None => lines.failed(
            name,
            format!("{host} is no member of a replica set: the sync service needs one for its bucket storage"),
            format!("start mongod with --replSet {}; then {initiate}", wanted.unwrap_or(USUAL_SET)),
        ),
    }
}

async fn redis(target: &ExistingStack, lines: &mut Lines) {
    let name = "Redis";
    let Some(url) = &target.redis else { return lines.skipped(name, "no --redis-url") };
    let start = "start Redis, or correct host and port; the backend works without it, more slowly for repeated uploads";
    match tokio::time::timeout(target.patience(), ping(url)).await {
        Ok(Ok(())) => lines.ok(name, "it answers PING"),
        Ok(Err(error)) if is_about_password(&error) => lines.failed(
            name,
            format!("it does not take the password: {}", error.code().unwrap_or("AUTH failed")),
            "name the password that redis-server was started with (requirepass), as in redis://:password@host:6379",
        ),
        Ok(Err(error)) if error.is_connection_refusal() => {
            lines.failed(name, "nobody listens there: Redis is down, or is on another port", start);
        }
        Ok(Err(error)) => lines.failed(name, format!("it cannot be used: {error}"), start),
        Err(_) => lines.failed(name, "it does not answer in time", start),
    }
}

/// Asks for a sign of life, after giving the password that the URL has.
pub(super) async fn ping(url: &str) -> redis::RedisResult<()> {
    tls::choose_ring();
    let client = redis::Client::open(url)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    redis::cmd("PING").query_async(&mut connection).await
}

/// Whether Redis wants a password, or another one.
pub(super) fn is_about_password(error: &redis::RedisError) -> bool {
    error.kind() == redis::ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"))
        || error.to_string().contains("without any password configured")
}

#[cfg(test)]
mod tests {
    use ::mongodb::bson::doc;

    use super::*;
    use crate::Outcome;

    #[test]
    fn replica_sets() {
        let table = [
            (doc! { "setName": "rs0", "isWritablePrimary": true }, "ok", "primary"),
            (doc! { "setName": "rs0", "primary": "m:1" }, "ok", "m:1"),
            (doc! { "setName": "rs0" }, "failed", "no primary"),
            (doc! { "setName": "rs1" }, "failed", "rs1"),
            (doc! { "isreplicaset": true }, "failed", "not initiated"),
            (doc! { "isWritablePrimary": true }, "failed", "no member"),
        ];
        for (hello, word, said) in table {
            let mut lines = Lines::about("stores");
            judge(&hello, "h:1", Some("rs0"), &mut lines);
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
