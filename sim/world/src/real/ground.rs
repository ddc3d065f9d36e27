//! What the servers of a plan stand on, whichever way they run: as processes, or in containers.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use backend::Rules;
use fixtures::App;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use nix::sys::signal::Signal;
use sim_core::plan::{ContainerFault, EPOCH_US, StackPart};
use tokio_postgres::Client;

use super::feed::{self, Feed, Spring};
use super::keys::{Issuer, Keys};
use super::link::Http;
use super::writes::{identifier, insert};
use sim_network::ServerRole;
use crate::clock::ClockFile;
use super::share::OwnRow;
use crate::told::SeedRow;

/// How long ago servers believe it is while a plan is prepared.
pub(crate) const BEFORE_US: i64 = EPOCH_US - 60_000_000;

/// What there will be, or why not.
pub(crate) type Later<'a, T> = BoxFuture<'a, Result<T, String>>;

/// What is the same for all plans of a site.
pub(crate) struct Common {
    pub(crate) app: Arc<App>,
    pub(crate) rules: Arc<Rules>,
    /// The plan's clock, as servers read it.
    pub(crate) clock: Arc<ClockFile>,
    pub(crate) keys: Keys,
    pub(crate) pace: Pace,
}

/// How fast plan time may pass while nothing is known to be under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// How far it may go by itself before the servers are waited for.
    pub(crate) leap: Duration,
    /// How long they then have, at least.
    pub(crate) moment: Duration,
    /// How long a plan may take by the machine's clock before it is given up.
    pub(crate) patience: Duration,
    /// After replication has caught up, lines follow within this time.
    pub(crate) coalescing: Duration,
    /// After a part of a stream, the next may follow within this time.
    pub(crate) lines: Duration,
    /// Whether the service goes by the machine's clock.
    pub(crate) is_service_apart: bool,
    /// Whether the backend does.
    pub(crate) is_backend_apart: bool,
}

/// What a plan brings with it.
pub(crate) struct Cast {
    pub(crate) seed: Vec<SeedRow>,
    /// Every row that it may make, seed rows included.
    pub(crate) rows: Vec<OwnRow>,
    /// Every client id that its devices may have.
    pub(crate) clients: Vec<String>,
    pub(crate) users: Vec<String>,
}

/// What is done to the database as a whole.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Blow {
    /// It is killed, with all its processes.
    Kill,
    /// It is told to end, and killed if it does not.
    Stop,
    /// Nobody reaches it.
    Disconnect,
    /// It is reached again.
    Reconnect,
    /// It is started again, and answers when this is done.
    Restart,
    /// It is frozen.
    Pause,
    /// It goes on.
    Resume,
}

/// A database, and the means to start two servers on it.
pub(crate) trait Ground: Send + Sync {
    fn common(&self) -> &Common;

    /// Forgets the plan before, and writes the seed rows. Gives the commits from then on, and what makes tokens.
    fn prepare<'a>(&'a self, cast: &'a Cast) -> Later<'a, (Feed, Issuer)>;

    /// Takes away what the plan has written, where the database is not ours alone.
    fn clean<'a>(&'a self, feed: &'a Feed) -> Later<'a, ()> {
        let _ = feed;
        ready(Ok(())).boxed()
    }

    /// A connection to the application's database.
    fn connect(&self) -> Later<'_, Client>;

    /// Writes the service's sync configuration, as it is or with something after it.
    fn configure(&self, further: &str) -> Result<(), String>;

    /// Starts a server; `waits` until it is ready, or only until it listens.
    fn server<'a>(&'a self, target: ServerRole, http: &'a Http, waits: bool) -> Later<'a, Box<dyn Server>>;

    /// Does something to the database.
    fn strike(&self, blow: Blow) -> Later<'_, ()>;

    /// Something befalls a container that is no business of the stage.
    fn befall(&self, part: StackPart, how: ContainerFault) -> Later<'_, ()> {
        let _ = (part, how);
        ready(Err("there are no containers in this world".to_owned())).boxed()
    }

    /// And is over.
    fn undo(&self, part: StackPart, how: ContainerFault) -> Later<'_, ()> {
        self.befall(part, how)
    }

    /// The cache forgets everything.
    fn flush_cache(&self) -> Later<'_, ()> {
        ready(Err("there is no cache in this world".to_owned())).boxed()
    }

    /// Sends a signal to one of the database's processes, by the number that the database itself has for it.
    fn signal(&self, pid: i32, signal: Signal) -> Later<'_, ()>;

    /// The position up to which the service has taken what was committed; `None` when it does not say.
    fn replicated<'a>(&'a self, http: &'a Http, service: SocketAddr) -> BoxFuture<'a, Option<u64>>;
}

/// A server that listens. It ends when its handle goes.
pub(crate) trait Server: Send + Sync {
    fn name(&self) -> &'static str;

    /// Where it listens.
    fn address(&self) -> SocketAddr;

    /// How to end it at once, for somebody who does not hold it.
    fn killer(&self) -> Killer;

    /// Ends it at once.
    fn kill(self: Box<Self>) -> Later<'static, ()>;

    /// Asks it to end, and kills it if it does not.
    fn stop(self: Box<Self>) -> Later<'static, ()>;

    /// Cuts it off from the network.
    fn disconnect(&self) -> Later<'_, ()> {
        ready(Err("there are no containers in this world".to_owned())).boxed()
    }

    /// Freezes it.
    fn pause(&self) -> Later<'_, ()>;

    /// Lets it go on.
    fn resume(&self) -> Later<'_, ()>;

    /// The service compacts its buckets.
    fn compact(&self) -> Later<'_, ()>;

    /// The service learns of so many keys, by whatever way it does; `waits` until it has.
    fn learn_keys<'a>(&'a self, http: &'a Http, count: u64, waits: bool) -> Later<'a, ()>;

    /// How it ended, if it did by itself.
    fn ended(&mut self) -> BoxFuture<'_, Option<String>>;
}

/// Ends a server at once (SIGKILL).
pub(crate) type Killer = Arc<dyn Fn() -> Later<'static, ()> + Send + Sync>;

/// Empties a database of our own, and writes the seed rows; `forget` what the servers of the plan before have kept.
pub(crate) async fn reset(
    ground: &dyn Ground,
    seed: &[SeedRow],
    forget: impl Future<Output = Result<(), String>> + Send,
) -> Result<(Feed, Issuer), String> {
    let Common { app, rules, clock, keys, .. } = ground.common();
    clock.show(BEFORE_US);
    ground.configure("")?;
    let issuer = keys.begin(BEFORE_US)?;
    forget.await?;
    let client = ground.connect().await?;
    let tables: Vec<String> = app.schema.tables.iter().map(|table| identifier(&table.name)).collect();
    client
        .batch_execute(&format!(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active_pid IS NOT NULL;
             SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid();
             SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots;
             DROP SCHEMA IF EXISTS sync_backend CASCADE;
             TRUNCATE {}",
            tables.join(", ")
        ))
        .await
        .map_err(|error| feed::said(&error))?;
    let feed = Feed::start(app.clone(), rules.clone(), client, Spring::own()).await?;
    sow(&feed, app, seed).await?;
    Ok((feed, issuer))
}

/// Writes the seed rows in one transaction.
pub(crate) async fn sow(feed: &Feed, app: &App, seed: &[SeedRow]) -> Result<(), String> {
    let mut sql = format!("BEGIN;{};", feed::MARK);
    for (table, id, values) in seed {
        sql.push_str(&insert(&app.schema.tables[*table], id, values, EPOCH_US));
        sql.push(';');
    }
    sql.push_str("COMMIT");
    feed.sql(&sql).await?;
    feed.drain(EPOCH_US).await
}

/// Asks the database how far a service has come, over a session that is kept.
#[derive(Default)]
pub(crate) struct Asking(tokio::sync::Mutex<Option<Client>>);

impl Asking {
    /// The position that its slot has confirmed, of those with a name like this.
    pub(crate) async fn confirmed(
        &self,
        connect: impl Future<Output = Result<Client, String>> + Send,
        slot: &str,
    ) -> Option<u64> {
        let mut kept = self.0.lock().await;
        let client = match kept.take().filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => connect.await.ok()?,
        };
        let confirmed = confirmed(&client, slot).await.ok()?;
        *kept = Some(client);
        confirmed
    }
}

async fn confirmed(client: &Client, slot: &str) -> Result<Option<u64>, tokio_postgres::Error> {
    let sql = "SELECT (confirmed_flush_lsn - '0/0'::pg_lsn)::int8 FROM pg_replication_slots \
         WHERE slot_name LIKE $1 AND active ORDER BY 1 DESC NULLS LAST LIMIT 1";
    let row = client.query_opt(sql, &[&slot]).await?;
    Ok(row.and_then(|row| row.get::<_, Option<i64>>(0)).map(i64::cast_unsigned))
}

/// The history's publication, made once.
pub(crate) async fn publish(client: &Client, app: &App) -> Result<(), String> {
    let tables: Vec<String> = app.schema.tables.iter().map(|table| identifier(&table.name)).collect();
    let sql = format!("CREATE PUBLICATION {} FOR TABLE {}", feed::PUBLICATION, tables.join(", "));
    client.batch_execute(&sql).await.map_err(|error| feed::said(&error))
}
