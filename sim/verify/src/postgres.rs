//! The database: reached over TLS, exactly the application's tables, and all that logical replication needs.

use std::collections::{BTreeMap, BTreeSet};

use ::backend::store::postgres::tls::{Address, SslMode};
use tokio_postgres::{Client, Row};

use super::replication;
use super::{Check, Lines, Outcome, failed};
use sim_stack::existing_stack::database::{NoSession, connect};
use sim_stack::existing_stack::{ExistingStack, chain, without_password};

/// The lines that need a session.
const LINES: [&str; 8] = [
    "TLS",
    "tables",
    "replica identity",
    "wal_level",
    "publication",
    "publication covers the tables",
    "replication slot",
    "replication slot is active",
];

/// Which line it fails, and how.
fn line(none: &NoSession, place: &str) -> (&'static str, Outcome) {
    match none {
        NoSession::NoTls => (
            "TLS",
            failed(
                format!("{place} speaks no TLS, and the address asks for it"),
                "set ssl = on with ssl_cert_file and ssl_key_file in postgresql.conf, and restart PostgreSQL",
            ),
        ),
        NoSession::Certificate(said) => (
            "TLS",
            failed(
                format!("the certificate of {place} is not believed: {said}"),
                "name the authority that signed it with sslrootcert=FILE in the address, or have it made out to this host",
            ),
        ),
        NoSession::Password(said) => (
            "reachable",
            failed(
                format!("{place} does not take the name and password: {said}"),
                "correct them in the address; the image sets POSTGRES_PASSWORD only when its volume is new",
            ),
        ),
        NoSession::NotAllowed(said) => (
            "reachable",
            failed(
                format!("{place} lets nobody in from here: {said}"),
                "add a hostssl line to pg_hba.conf, and reload",
            ),
        ),
        NoSession::Silent => (
            "reachable",
            failed(
                format!("{place} does not answer in time"),
                "open its port in the firewall; see that it is not overloaded",
            ),
        ),
        NoSession::Away(said) => (
            "reachable",
            failed(
                format!("{place} cannot be used: {said}"),
                "start PostgreSQL, and check host, port and database in the address; its log says why it is not up",
            ),
        ),
    }
}

/// The lines about the database.
pub(super) async fn checks(target: &ExistingStack) -> Vec<Check> {
    let mut lines = Lines::about("database");
    let Some(url) = &target.postgres else {
        lines.skipped("reachable", "no --postgres-url");
        lines.skip_all(&LINES, "no --postgres-url");
        return lines.checks;
    };
    let place = without_password(url);
    let place = place.split('?').next().unwrap_or_default();
    let session = match Address::parse(url) {
        Ok(address) => connect(&address, target.patience()).await.map(|client| (client, address)),
        Err(said) => Err(NoSession::Away(said)),
    };
    match session {
        Err(none) => {
            let (name, outcome) = line(&none, place);
            for line in ["reachable"].iter().chain(&LINES) {
                if *line == name {
                    lines.add(name, outcome.clone());
                } else {
                    lines.skipped(line, format!("there is no session: see `{name}`"));
                }
            }
        }
        Ok((client, address)) => {
            // Whatever hangs is given up, and what was found out until then stands.
            let asked = ask(target, &client, &address, &mut lines);
            let given_up = match tokio::time::timeout(target.patience().saturating_mul(2), asked).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("the database refused the question: {}", chain(&error))),
                Err(_) => Some("the database did not answer in time".to_owned()),
            };
            for line in LINES.iter().filter(|_| given_up.is_some()) {
                if !lines.checks.iter().any(|check| check.name == **line) {
                    lines.skipped(line, given_up.clone().unwrap_or_default());
                }
            }
        }
    }
    lines.checks
}

async fn ask(
    target: &ExistingStack,
    client: &Client,
    address: &Address,
    lines: &mut Lines,
) -> Result<(), tokio_postgres::Error> {
    let about = client
        .query_one(
            "SELECT current_setting('server_version'), current_setting('wal_level'),
                 (SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl)",
            &[],
        )
        .await?;
    lines.ok("reachable", format!("PostgreSQL {}", about.get::<_, &str>(0)));
    tls(target, address, about.get(2), lines).await;
    let found = tables(target, client, lines).await?;
    let wal_level: &str = about.get(1);
    if wal_level == "logical" {
        lines.ok("wal_level", "logical");
    } else {
        lines.failed(
            "wal_level",
            format!("wal_level is {wal_level}: changes cannot be replicated"),
            "set wal_level = logical in postgresql.conf (or start with `-c wal_level=logical`) and restart PostgreSQL",
        );
    }
    replication::publication(target, client, &found, lines).await?;
    replication::slot(target, client, lines).await
}

async fn tls(target: &ExistingStack, address: &Address, version: Option<&str>, lines: &mut Lines) {
    if let Some(version) = version {
        return lines.ok("TLS", format!("{version}, sslmode {:?}", address.mode));
    }
    // The address did not ask for it; whether the server could is another question.
    let wanting = Address { mode: SslMode::Require, root: None, ..address.clone() };
    match connect(&wanting, target.patience()).await {
        Ok(_) => lines.ok("TLS", "offered; the address does not ask for it (sslmode=require does)"),
        Err(none @ (NoSession::NoTls | NoSession::Certificate(_))) => lines.add("TLS", line(&none, "the server").1),
        Err(other) => lines.skipped("TLS", format!("a session over TLS was not had: {other:?}")),
    }
}

/// What the application's tables are in the database: the names that are there.
async fn tables(
    target: &ExistingStack,
    client: &Client,
    lines: &mut Lines,
) -> Result<BTreeSet<String>, tokio_postgres::Error> {
    let rows = client
        .query(
            "SELECT c.relname::text, c.relreplident::text, coalesce(bool_or(i.indisprimary), false),
                 (SELECT array_agg(a.attname::text) FROM pg_attribute a
                     WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
             FROM pg_class c LEFT JOIN pg_index i ON i.indrelid = c.oid
             WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
             GROUP BY c.oid ORDER BY c.relname",
            &[],
        )
        .await?;
    let names = |row: &Row| row.get::<_, String>(0);
    let found: BTreeMap<String, &Row> = rows.iter().map(|row| (names(row), row)).collect();
    let app = &target.app.schema.tables;
    let missing: Vec<&str> =
        app.iter().map(|table| table.name.as_str()).filter(|name| !found.contains_key(*name)).collect();
    let extra: Vec<&str> =
        found.keys().map(String::as_str).filter(|name| target.app.schema.table_index(name).is_none()).collect();
    let mut lacking = Vec::new();
    for table in app {
        let Some(row) = found.get(&table.name) else { continue };
        let columns: Vec<String> = row.get::<_, Option<Vec<String>>>(3).unwrap_or_default();
        let implied = std::iter::once("id").chain(table.columns.iter().map(|column| column.name.as_str()));
        lacking.extend(
            implied
                .filter(|name| !columns.iter().any(|there| there == name))
                .map(|name| format!("{}.{name}", table.name)),
        );
    }
    let (mut wrong, mut fix) = (Vec::new(), Vec::new());
    if !missing.is_empty() {
        wrong.push(format!("missing: {}", missing.join(", ")));
        fix.push("create what is missing as schema.sql has it");
    }
    if !lacking.is_empty() {
        wrong.push(format!("missing columns: {}", lacking.join(", ")));
        fix.push("add the columns as schema.sql has them");
    }
    if !extra.is_empty() {
        wrong.push(format!("not of the application: {}", extra.join(", ")));
        fix.push("drop what is not the application's or move it to another schema, unless this is the wrong database or --app");
    }
    if wrong.is_empty() {
        lines.ok("tables", format!("exactly the {} of {}", app.len(), target.app.name));
    } else {
        lines.failed("tables", wrong.join("; "), fix.join("; "));
    }
    replica_identity(target, &found, lines);
    Ok(found.into_keys().filter(|name| target.app.schema.table_index(name).is_some()).collect())
}

/// FULL where schema.sql says so; elsewhere whatever names a row.
fn replica_identity(target: &ExistingStack, found: &BTreeMap<String, &Row>, lines: &mut Lines) {
    let mut wrong = Vec::new();
    for (table, full) in target.app.schema.tables.iter().zip(&target.app.identity_full) {
        let Some(row) = found.get(&table.name) else { continue };
        let (identity, has_key): (&str, bool) = (row.get(1), row.get(2));
        let names_rows =
            if *full { identity == "f" } else { identity == "f" || identity == "i" || identity == "d" && has_key };
        if !names_rows {
            wrong.push(table.name.clone());
        }
    }
    if wrong.is_empty() {
        return lines.ok("replica identity", "as schema.sql has it");
    }
    let statements: Vec<String> =
        wrong.iter().map(|name| format!("ALTER TABLE \"{name}\" REPLICA IDENTITY FULL;")).collect();
    lines.failed(
        "replica identity",
        format!("the log does not tell which row changed, or what it was before: {}", wrong.join(", ")),
        format!("execute {}", statements.join(" ")),
    );
}
