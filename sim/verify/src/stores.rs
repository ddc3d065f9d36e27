//! What stands behind the two servers: Redis, the backend's cache; MongoDB, the service's bucket storage.

use super::bson;
use super::mongodb::Session;
use sim_stack::target::Target;
use super::{Check, Lines};

/// The name of the guide's replica set.
const USUAL_SET: &str = "rs0";

/// The lines about both.
pub(super) async fn checks(target: &Target) -> Vec<Check> {
    let mut lines = Lines::about("stores");
    mongodb(target, &mut lines).await;
    redis(target, &mut lines).await;
    lines.checks
}

async fn mongodb(target: &Target, lines: &mut Lines) {
    let name = "MongoDB replica set";
    let Some(place) = &target.mongodb else { return lines.skipped(name, "no --mongodb-url") };
    if place.wants_tls {
        return lines.skipped(name, "TLS to MongoDB is not spoken here");
    }
    let mut silent = Vec::new();
    for host in &place.hosts {
        let hello = match Session::open(host, target.patience()).await {
            Ok(mut session) => session.hello().await,
            Err(none) => Err(none),
        };
        match hello {
            Ok(hello) => return replica_set(&hello, host, place.set.as_deref(), lines),
            Err(none) => silent.push(none.words(host)),
        }
    }
    lines.failed(name, silent.join("; "), "start MongoDB (mongod --replSet rs0), or correct host and port; its log says why it is not up");
}

/// Judges one member by its `hello`.
fn replica_set(hello: &[bson::Item], host: &str, wanted: Option<&str>, lines: &mut Lines) {
    let name = "MongoDB replica set";
    let initiate = format!(
        "execute once, in mongosh: rs.initiate({{_id: \"{}\", members: [{{_id: 0, host: \"{host}\"}}]}}), with the host \
         as the sync service knows it",
        wanted.unwrap_or(USUAL_SET)
    );
    if bson::number(hello, "ok") != Some(1) {
        let said = bson::text(hello, "errmsg").unwrap_or("without a word");
        return lines.skipped(name, format!("{host} refuses hello ({said}): a MongoDB before 5, or another server"));
    }
    let primary = bson::text(hello, "primary");
    let is_primary = bson::flag(hello, "isWritablePrimary") == Some(true);
    match bson::text(hello, "setName") {
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
        None if bson::flag(hello, "isreplicaset") == Some(true) => {
            lines.failed(name, format!("{host} runs with --replSet, and the replica set is not initiated"), initiate);
        }
        None => lines.failed(
            name,
            format!("{host} is no member of a replica set: the sync service needs one for its bucket storage"),
            format!("start mongod with --replSet {}; then {initiate}", wanted.unwrap_or(USUAL_SET)),
        ),
    }
}

async fn redis(target: &Target, lines: &mut Lines) {
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
    use super::*;
    use crate::Outcome;
    use bson::Value;

    #[test]
    fn replica_sets() {
        let hello = |items: &[(&str, Value)]| -> Vec<bson::Item> {
            let ok = ("ok", Value::Double(1.0));
            items.iter().chain([&ok]).map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
        };
        let text = |text: &str| Value::Text(text.to_owned());
        let table = [
            (hello(&[("setName", text("rs0")), ("isWritablePrimary", Value::Bool(true))]), "ok", "primary"),
            (hello(&[("setName", text("rs0")), ("primary", text("m:1"))]), "ok", "m:1"),
            (hello(&[("setName", text("rs0"))]), "failed", "no primary"),
            (hello(&[("setName", text("rs1")), ("isWritablePrimary", Value::Bool(true))]), "failed", "rs1"),
            (hello(&[("isreplicaset", Value::Bool(true))]), "failed", "not initiated"),
            (hello(&[("isWritablePrimary", Value::Bool(true))]), "failed", "no member"),
            (vec![("ok".to_owned(), Value::Double(0.0))], "skipped", "hello"),
        ];
        for (hello, word, said) in table {
            let mut lines = Lines::about("stores");
            replica_set(&hello, "h:1", Some("rs0"), &mut lines);
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
