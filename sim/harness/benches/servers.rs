//! What the two servers on a real PostgreSQL cost: from COMMIT to a client's line, memory, time to be ready, uploads a
//! second, a world up and reset. `cargo bench --bench servers` prints one table of medians.
//!
//! All figures are of one run on one machine, with clients, servers and database sharing its cores; figures of
//! different machines say nothing to each other.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backend::PolicyKind;
use bytes::Bytes;
use fixtures::{App, ColumnDefault, Type};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use sim_world::TrialConfig;
use sim_world::embedded::{EmbeddedPool, RunningStack};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How many commits are timed for each count of streams.
const COMMITS: usize = 200;
/// How often a world is brought up, and reset.
const ROUNDS: usize = 5;
/// Rows of the one large transaction.
const ROWS: usize = 10_000;
/// How long uploads are counted.
const UPLOADING: Duration = Duration::from_secs(5);
/// Nothing here takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

type Problem = Box<dyn std::error::Error + Send + Sync>;
type Http = Client<HttpConnector, Full<Bytes>>;

fn main() -> Result<(), Problem> {
    // `cargo test` builds benches and runs them with this word: there is nothing to test.
    if std::env::args().any(|word| word == "--test" || word == "--list") {
        return Ok(());
    }
    let app = Arc::new(App::builtin("flowstate").ok_or("it is built in")?);
    let config = TrialConfig::deterministic(app.clone(), PolicyKind::FieldMerge)?;
    let pool = || EmbeddedPool::new(&config.system, "flowstate", env!("CARGO_BIN_EXE_syncstorm").into());
    // The first one prepares the cluster that all others are copied from.
    pool().preflight()?;
    let mut up = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let pool = pool();
        let stack = RunningStack::start(&pool)?;
        up.push(began.elapsed());
        drop(stack);
    }
    let pool = pool();
    let mut stack = RunningStack::start(&pool)?;
    let (mut reset, mut backend_ready, mut service_ready) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        stack.stop(&pool);
        let began = Instant::now();
        stack = RunningStack::start(&pool)?;
        reset.push(began.elapsed());
        backend_ready.push(stack.ready_after[0]);
        service_ready.push(stack.ready_after[1]);
    }
    let mut table = String::new();
    row(&mut table, "world up: cluster, database, both servers ready", &mut up);
    row(&mut table, "world reset: tables, slots and stores emptied, both servers anew", &mut reset);
    row(&mut table, "backend ready, from process start", &mut backend_ready);
    row(&mut table, "service ready, from process start", &mut service_ready);
    let memory = |table: &mut String, when: &str, stack: &RunningStack| {
        for (name, process) in ["backend", "service"].into_iter().zip(stack.process_ids) {
            let (now, peak) = memory_mb(process);
            let _ = writeln!(table, "{:<66} {now:>7} MB, peak {peak} MB", format!("{name}'s memory, {when}"));
        }
    };
    memory(&mut table, "idle", &stack);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(&app, &stack, &mut table))?;
    memory(&mut table, "after all of this", &stack);
    print!("{table}");
    Ok(())
}

async fn measure(app: &App, stack: &RunningStack, table: &mut String) -> Result<(), Problem> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let http: Http = Client::builder(TokioExecutor::new()).build(connector);
    let database = connect(stack).await?;
    let insert = Insert::new(app);
    for streams in [1, 100] {
        let mut times = commit_to_line(&http, stack, &database, &insert, streams).await?;
        row(table, &format!("COMMIT sent until its line has come, {streams} streams"), &mut times);
    }
    let mut large = Vec::new();
    for round in 0..ROUNDS {
        large.push(many_rows(&http, stack, &database, &insert, round).await?);
    }
    row(table, &format!("{ROWS} rows in one transaction, until they are complete at a client"), &mut large);
    let mut fresh = Vec::new();
    for client in 0..ROUNDS {
        let began = Instant::now();
        let (mut lines, stream) = open(&http, stack, &format!("fresh-{client}")).await?;
        until(&mut lines, |line| line.contains("checkpoint_complete")).await?;
        fresh.push(began.elapsed());
        stream.abort();
    }
    row(table, "a client without anything, until it has all rows so far", &mut fresh);
    for devices in [1, 50] {
        let a_second = uploads(&http, stack, &insert, devices).await?;
        let _ = writeln!(
            table,
            "{:<66} {a_second:>7.0} a second",
            format!("upload transactions of one row, {devices} devices")
        );
    }
    Ok(())
}

/// One row of the application's first table, as SQL and as an operation.
#[derive(Clone)]
struct Insert {
    table: String,
    columns: Vec<String>,
}

impl Insert {
    fn new(app: &App) -> Self {
        let table = &app.schema.tables[0];
        let needed = table.columns.iter().filter(|column| column.not_null && column.default == ColumnDefault::Null);
        let texts = needed.filter(|column| column.ty == Type::Text && column.name != "id");
        Self { table: table.name.clone(), columns: texts.map(|column| column.name.clone()).collect() }
    }

    fn sql(&self, ids: &str) -> String {
        let names: String = self.columns.iter().map(|column| format!(", \"{column}\"")).collect();
        let values = ", 'a value'".repeat(self.columns.len());
        format!("INSERT INTO \"{}\" (id{names}) SELECT id{values} FROM {ids} AS ids(id)", self.table)
    }

    fn upload(&self, client: &str, number: u64) -> String {
        let data: serde_json::Map<String, serde_json::Value> =
            self.columns.iter().map(|column| (column.clone(), "a value".into())).collect();
        let op = serde_json::json!({
            "op_id": number, "op": "PUT", "table": self.table, "id": format!("{client}-{number}"), "data": data,
        });
        serde_json::json!({"client_id": client, "transactions": [{"tx_id": number, "ops": [op]}]}).to_string()
    }
}

async fn connect(stack: &RunningStack) -> Result<tokio_postgres::Client, Problem> {
    // It is on loopback, and the figure is not about encryption.
    let url = stack.database_url.split('?').next().unwrap_or_default();
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Opens a stream and hands on its lines.
async fn open(
    http: &Http,
    stack: &RunningStack,
    client: &str,
) -> Result<(mpsc::UnboundedReceiver<(Instant, String)>, tokio::task::JoinHandle<()>), Problem> {
    let body = serde_json::json!({
        "client_id": client, "raw_data": true, "include_checksum": true, "buckets": [], "parameters": {},
    });
    let request = http::Request::post(format!("{}/sync/stream", stack.service_url))
        .header("authorization", format!("Bearer {}", stack.token))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))?;
    let answer = http.request(request).await?;
    if answer.status() != http::StatusCode::OK {
        return Err(format!("a stream was answered {}", answer.status()).into());
    }
    let (lines, received) = mpsc::unbounded_channel();
    let mut body = answer.into_body();
    let reading = tokio::spawn(async move {
        let mut rest = Vec::new();
        while let Some(Ok(frame)) = body.frame().await {
            let at = Instant::now();
            rest.extend_from_slice(&frame.into_data().unwrap_or_default());
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                if lines.send((at, String::from_utf8_lossy(&line).into_owned())).is_err() {
                    return;
                }
            }
        }
    });
    Ok((received, reading))
}

/// Waits for a line, and says when it came.
async fn until(
    lines: &mut mpsc::UnboundedReceiver<(Instant, String)>,
    is_it: impl Fn(&str) -> bool,
) -> Result<Instant, Problem> {
    let found = async {
        loop {
            let (at, line) = lines.recv().await.ok_or("the stream ended")?;
            if is_it(&line) {
                return Ok::<_, Problem>(at);
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await?
}

/// From sending each commit until the line with its row has come, at every stream.
async fn commit_to_line(
    http: &Http,
    stack: &RunningStack,
    database: &tokio_postgres::Client,
    insert: &Insert,
    streams: usize,
) -> Result<Vec<Duration>, Problem> {
    let mut open_streams = Vec::new();
    for stream in 0..streams {
        let mut opened = open(http, stack, &format!("s{streams}-{stream}")).await?;
        until(&mut opened.0, |line| line.contains("checkpoint_complete")).await?;
        open_streams.push(opened);
    }
    let mut times = Vec::new();
    for number in 0..COMMITS {
        let id = format!("line-{streams}-{number}");
        let sent = Instant::now();
        database.batch_execute(&insert.sql(&format!("(VALUES ('{id}'))"))).await?;
        for (lines, _) in &mut open_streams {
            times.push(until(lines, |line| line.contains(&id)).await?.duration_since(sent));
        }
        // What follows the line is not this commit's time.
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    for (_, reading) in open_streams {
        reading.abort();
    }
    Ok(times)
}

async fn many_rows(
    http: &Http,
    stack: &RunningStack,
    database: &tokio_postgres::Client,
    insert: &Insert,
    round: usize,
) -> Result<Duration, Problem> {
    let (mut lines, reading) = open(http, stack, &format!("large-{round}")).await?;
    until(&mut lines, |line| line.contains("checkpoint_complete")).await?;
    let sent = Instant::now();
    database
        .batch_execute(&insert.sql(&format!("(SELECT 'large-{round}-' || n FROM generate_series(1, {ROWS}) n)")))
        .await?;
    let complete = until(&mut lines, |line| line.contains("checkpoint_complete")).await?;
    reading.abort();
    Ok(complete.duration_since(sent))
}

/// Transactions a second that devices get through which upload one after the other.
async fn uploads(http: &Http, stack: &RunningStack, insert: &Insert, devices: usize) -> Result<f64, Problem> {
    let mut running = JoinSet::new();
    let began = Instant::now();
    for device in 0..devices {
        let client = format!("u{devices}-{device}");
        let insert = insert.clone();
        let (http, url, token) = (http.clone(), format!("{}/upload", stack.backend_url), stack.token.clone());
        running.spawn(async move {
            let mut done = 0_u64;
            while began.elapsed() < UPLOADING {
                let request = http::Request::post(&url)
                    .header("authorization", format!("Bearer {token}"))
                    .header("content-type", "application/json")
                    .body(Full::new(Bytes::from(insert.upload(&client, done + 1))))?;
                let answer = http.request(request).await?;
                let status = answer.status();
                let body = answer.into_body().collect().await?.to_bytes();
                if status != http::StatusCode::OK || !String::from_utf8_lossy(&body).contains("committed") {
                    return Err(format!("an upload was answered {status}: {}", String::from_utf8_lossy(&body)).into());
                }
                done += 1;
            }
            Ok::<_, Problem>(done)
        });
    }
    let mut done = 0;
    while let Some(device) = running.join_next().await {
        done += device??;
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of some thousands")]
    let done = done as f64;
    Ok(done / began.elapsed().as_secs_f64())
}

fn row(table: &mut String, what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1_000.0;
    let _ = write!(table, "{what:<66} {:>7.1} ms", at(50));
    if times.len() >= 20 {
        let _ = write!(table, ", p95 {:.1} ms", at(95));
    }
    table.push('\n');
}

/// What a process holds, now and at its most, in MB (Linux; 0 elsewhere).
fn memory_mb(process: i32) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let value = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1_024
    };
    (value("VmRSS:"), value("VmHWM:"))
}
